"""`[syscalls]` and the guards of other protections: one answer for every syscall, and where arguments change it.

The order of precedence, weakest first: `default`, what `allow`, `promises` and allowing rules grant, refusing rules,
`deny`, and the guards. Grants of all layers add up, a denial wins over them, and a guard over everything. Unknown
numbers always answer ENOSYS and foreign architectures are always killed, as soon as there is any filter.
"""

from __future__ import annotations

import errno

from sandrun.plan.draft import Arg, Draft
from sandrun.policy import syscalls
from sandrun.primitives.seccomp import ALLOW, ERRNO, KILL_PROCESS, LOG, errno_action
from sandrun.primitives.seccomp_known import compile_filter
from sandrun.primitives.seccomp_match import Refusal, TooComplexError, both, cubes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from sandrun.kernel import Kernel
    from sandrun.plan.draft import Guard
    from sandrun.primitives.seccomp_match import Condition, Cube
    from sandrun.profile.model import Profile, SyscallRule, Value

KEYS = tuple(f"syscalls.{name}" for name in ("default", "allow", "deny", "promises", "rules"))
ACTIONS = {"allow": ALLOW, "errno": errno_action(errno.EPERM), "kill-process": KILL_PROCESS, "log": LOG}

NEEDED = ("execve", "write", "exit_group")
"""What the launch itself still does under the filter: execute the command, or report that it could not, and end."""

FALLBACKS = (
    ("clone3", "clone"),
    ("openat2", "openat"),
    ("faccessat2", "faccessat"),
    ("fchmodat2", "fchmodat"),
    ("statx", "newfstatat"),
    ("epoll_pwait2", "epoll_pwait"),
)
"""Newer calls and the older ones that a C library tries when the newer answer ENOSYS, but not when they answer EPERM.

A newer call that nothing names answers ENOSYS if the older is allowed: lists made before it keep their meaning.
"""


class _Filter:
    """The filter as it grows: the answer of each number, and stricter answers by argument."""

    __slots__ = ("answers", "arch", "default", "denied", "granted", "notes", "refusals")

    def __init__(self, arch: str, default: int) -> None:
        self.arch = arch
        self.default = default
        self.answers = dict.fromkeys(syscalls.numbers(arch).values(), default)
        self.granted: set[int] = set()
        """Numbers that `allow` or a promise grants whatever the arguments."""
        self.denied: dict[int, Value] = {}
        self.refusals: list[Refusal] = []
        self.notes: list[str] = []

    def name(self, number: int) -> str:
        return syscalls.name_of(number, self.arch)


def resolve_syscalls(draft: Draft, kernel: Kernel) -> None:
    """Set the plan's field `seccomp` from the profile's syscall keys and from `draft.guards`; call last.

    Records the protection "syscalls" if the profile asks for any. Contradictions of the profile, a filter that would
    keep the command from starting and one that is too long become problems of the draft.
    """
    asked = tuple(key for key in KEYS if draft.profile.items(key))
    draft.fields["seccomp"] = ()
    if not asked and not draft.guards:
        return
    if not kernel.seccomp_filter or kernel.arch not in syscalls.ARCHES:
        _lose(draft, kernel, asked)
        return
    table = _profile_filter(draft, kernel.arch)
    _apply_guards(table, draft.guards)
    table.refusals[:] = [
        refusal for refusal in table.refusals if _stricter(refusal.action, table.answers[refusal.number])
    ]
    try:
        draft.fields["seccomp"] = compile_filter(table.arch, table.answers, table.refusals)
    except TooComplexError as error:
        where = next((origin for key in asked for origin in draft.profile.origins(key)), "syscalls")
        draft.refuse(where, f"cannot make the syscall filter: {error}", "use fewer argument rules")
    if asked:
        who = tuple(dict.fromkeys(origin for key in asked for origin in draft.profile.origins(key)))
        draft.record("syscalls", "seccomp", notes=(*_summary(table), *dict.fromkeys(table.notes)), requested=who)


def let_through(profile: Profile, guards: Sequence[Guard], arch: str) -> frozenset[str]:
    """The names of the syscalls that the filters of a resolved profile let through, for some arguments at least."""
    table = _profile_filter(Draft(profile), arch)
    _apply_guards(table, guards)
    passing = {number for number, answer in table.answers.items() if answer in {ALLOW, LOG}}
    return frozenset(name for name, number in syscalls.numbers(arch).items() if number in passing)


def _lose(draft: Draft, kernel: Kernel, asked: Sequence[str]) -> None:
    """No filter can be had: every protection that needed one is lost."""
    if kernel.seccomp_filter:
        why = f"syscalls cannot be filtered: sandrun knows no syscall numbers of {kernel.arch}"
    else:
        why = "syscalls cannot be filtered: this kernel has no seccomp filters"
    hint = "use a kernel with CONFIG_SECCOMP_FILTER on x86_64 or aarch64, or make the key optional"
    recorded = (one.key for one in draft.protections if "seccomp" in one.mechanisms)
    for key in dict.fromkeys((*asked, *(guard.key for guard in draft.guards), *recorded)):
        mine = [one for one in draft.protections if one.key == key and "seccomp" in one.mechanisms]
        draft.protections[:] = [one for one in draft.protections if one not in mine]
        others = (name for one in mine for name in one.mechanisms if name != "seccomp")
        draft.lose(key, why, hint, *dict.fromkeys(others))


def _profile_filter(draft: Draft, arch: str) -> _Filter:
    default = ACTIONS[_default(draft)]
    table = _Filter(arch, default)
    _read_lists(draft, table)
    _check_conflicts(draft, table)
    for number in table.granted:
        table.answers[number] = ALLOW
    for number in table.denied:
        table.answers[number] = KILL_PROCESS if default == KILL_PROCESS else ACTIONS["errno"]
    _apply_rules(draft, table)
    _leave_needed(draft, table)
    _answer_newer(table)
    return table


def _default(draft: Draft) -> str:
    """What happens to a syscall that nothing names: as written; without that, a profile that allows some, refuses."""
    written = draft.profile.scalar("syscalls.default")
    if written is not None:
        return str(written.value)
    lists = draft.profile.items("syscalls.allow") or draft.profile.items("syscalls.promises")
    rules = any(_rule(value).action == "allow" for value in draft.profile.items("syscalls.rules"))
    return "errno" if lists or rules else "allow"


def _read_lists(draft: Draft, table: _Filter) -> None:
    for value in draft.profile.items("syscalls.allow"):
        table.granted.update(_numbers(str(value.value), table))
    for value in draft.profile.items("syscalls.deny"):
        table.denied.update((number, value) for number in _numbers(str(value.value), table))
    for value in draft.profile.items("syscalls.promises"):
        from sandrun.policy import promises  # noqa: PLC0415 (few profiles make one)

        name = str(value.value)
        for call in promises.calls(name):
            table.granted.update(syscalls.meaning(call, table.arch).numbers)
        if promises.PROMISES[name].note:
            table.notes.append(f"promise {name}: {promises.PROMISES[name].note}")


def _numbers(entry: str, table: _Filter) -> tuple[int, ...]:
    meaning = syscalls.meaning(entry, table.arch)
    table.notes += [f"{name} is no syscall of {table.arch}: skipped" for name in meaning.foreign]
    for number in meaning.numbers:
        if number not in table.answers:
            table.answers[number] = table.default
            table.notes.append(f"syscall number {number} is unknown to sandrun")
    return meaning.numbers


def _check_conflicts(draft: Draft, table: _Filter) -> None:
    """One entry granted and denied in one file is an error; a set of which one part is denied is not."""
    denials = draft.profile.items("syscalls.deny")
    grants = [(value, str(value.value)) for value in draft.profile.items("syscalls.allow")]
    rules = [(value, _rule(value)) for value in draft.profile.items("syscalls.rules")]
    grants += [(value, rule.syscall) for value, rule in rules if rule.action == "allow"]
    for value, entry in grants:
        for denial in denials:
            other = str(denial.value)
            if denial.origin.source != value.origin.source:
                continue
            if entry == other or (not syscalls.is_set(entry) and _overlap(entry, other, table.arch)):
                also = f" (part of {other})" if syscalls.is_set(other) and other != entry else ""
                draft.refuse(
                    value.origin,
                    f"{entry} is allowed here and denied{also} by {denial.origin.key}",
                    "remove one of the two",
                )


def _overlap(left: str, right: str, arch: str) -> bool:
    return bool(set(syscalls.meaning(left, arch).numbers) & set(syscalls.meaning(right, arch).numbers))


def _apply_rules(draft: Draft, table: _Filter) -> None:
    """Rules and promises by argument. Those that allow come first: they leave a refusal for the other arguments."""
    allowing: dict[int, list[Condition]] = {}
    refusing: list[tuple[Value, Refusal]] = []
    for value in draft.profile.items("syscalls.rules"):
        rule = _rule(value)
        action = _action(rule.action)
        for number in _numbers(rule.syscall, table):
            condition = _rule_condition(draft, value, table)
            if condition is not None and action != ALLOW:
                refusing.append((value, Refusal(number, action, [condition])))
            elif condition is not None:
                allowing.setdefault(number, []).append(condition)
                _warn_idle(draft, value, idle=table.answers[number] == ALLOW)
    for value in draft.profile.items("syscalls.promises"):
        from sandrun.policy import promises  # noqa: PLC0415 (see above)

        for call, when in promises.limited(str(value.value)):
            for number in syscalls.meaning(call, table.arch).numbers:
                allowing.setdefault(number, []).append(_condition(call, when, grant=True))
    for number, conditions in allowing.items():
        answer = table.answers[number]
        if answer != ALLOW and number not in table.denied:
            table.answers[number] = ALLOW
            table.refusals.append(Refusal(number, answer, conditions, elsewhere=True))
    for value, refusal in refusing:
        _warn_idle(draft, value, idle=not _stricter(refusal.action, table.answers[refusal.number]))
        table.refusals.append(refusal)


def _warn_idle(draft: Draft, value: Value, *, idle: bool) -> None:
    if idle:
        rule = _rule(value)
        why = "allowed" if rule.action == "allow" else "answered so, or stricter,"
        draft.warnings.append(f"{value.origin}: this rule changes nothing: {rule.syscall} is {why} anyway")


def _rule_condition(draft: Draft, value: Value, table: _Filter) -> Condition | None:
    """A profile's rule as a condition; None, and a problem, if no argument can meet it."""
    rule = _rule(value)
    name = table.name(syscalls.meaning(rule.syscall, table.arch).numbers[0])
    if rule.arg >= syscalls.argument_count(name):
        count = syscalls.argument_count(name)
        draft.refuse(value.origin, f"{name} has {count} arguments, counted from 0: there is no argument {rule.arg}")
        return None
    width = syscalls.argument_width(name, rule.arg)
    mask = _signed(rule.mask, width)
    mask = mask if mask >= 0 else mask & ((1 << (width or 32)) - 1)
    test = Arg(rule.arg, rule.op, _signed(rule.value, width), mask=mask)
    try:
        return _condition(name, (test,), grant=rule.action == "allow")
    except ValueError as error:
        draft.refuse(value.origin, f"argument {rule.arg} of {name}: {error}")
        return None


def _signed(number: int, width: int) -> int:
    """A profile's -1 arrives as 2**64 - 1; for a narrower argument it means -1 again."""
    return number - (1 << 64) if width != 64 and number >= 1 << 63 else number


def _condition(syscall: str, when: Sequence[Arg], *, grant: bool = False) -> Condition:
    """The tests of a guard, a promise or a rule as cubes; several tests of one argument must all hold.

    Raises ValueError for a test that no argument can meet.
    """
    condition: dict[int, list[Cube]] = {}
    for test in when:
        operands = test.values if test.op.endswith("in") else (test.value,)
        width = syscalls.argument_width(syscall, test.number)
        found = cubes(test.op, operands, test.mask, width, grant=grant)
        condition[test.number] = both(condition[test.number], found) if test.number in condition else found
    return condition


def _apply_guards(table: _Filter, guards: Sequence[Guard]) -> None:
    guarded: set[int] = set()
    for guard in guards:
        number = syscalls.number(guard.syscall, table.arch)
        if number is None:
            continue
        action = _action(guard.action)
        if guard.when:
            table.refusals.append(Refusal(number, action, [_condition(guard.syscall, guard.when)]))
            continue
        # Of two errnos the guard's is the better answer (clone3 has to say ENOSYS), and the first guard's of several.
        same = _rank(action) == _rank(table.answers[number]) and number not in guarded
        if same or _stricter(action, table.answers[number]):
            table.answers[number] = action
            guarded.add(number)


def _leave_needed(draft: Draft, table: _Filter) -> None:
    left = []
    for name in NEEDED:
        number = syscalls.number(name, table.arch)
        if number is None or not _stricter(table.answers[number], LOG):
            continue
        if number in table.denied:
            origin = table.denied[number].origin
            draft.refuse(origin, f"{name} cannot be denied: the launch itself needs it to start the command")
            continue
        table.answers[number] = ALLOW
        left.append(name)
    if left:
        table.notes.append(f"{', '.join(left)} left allowed: the launch itself needs them")


def _answer_newer(table: _Filter) -> None:
    """See FALLBACKS. Not for a call that the profile denies by name or by rule."""
    refused = {refusal.number for refusal in table.refusals}
    for newer, older in FALLBACKS:
        new, old = syscalls.number(newer, table.arch), syscalls.number(older, table.arch)
        if new is None or old is None or new in table.denied or new in refused:
            continue
        if _stricter(table.answers[new], LOG) and table.answers[old] in {ALLOW, LOG}:
            table.answers[new] = errno_action(errno.ENOSYS)


def _summary(table: _Filter) -> tuple[str, ...]:
    known = syscalls.numbers(table.arch).values()
    free = sum(table.answers[number] in {ALLOW, LOG} for number in known)
    limited = len({refusal.number for refusal in table.refusals})
    return (
        f"{free} of {len(known)} known syscalls allowed, {limited} of them by argument",
        "unknown numbers answer ENOSYS, other architectures are killed",
    )


def _rule(value: Value) -> SyscallRule:
    return value.value  # type: ignore[return-value]


def _action(text: str) -> int:
    head, _, name = text.partition(":")
    return errno_action(getattr(errno, name)) if head == "errno" and name else ACTIONS[text]


def _rank(action: int) -> int:
    return (ALLOW, LOG, ERRNO, KILL_PROCESS).index(action & 0xFFFF0000)


def _stricter(action: int, than: int) -> bool:
    return _rank(action) > _rank(than)
