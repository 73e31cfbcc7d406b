"""resolve: a Profile, the facts of this kernel and of this host → the Plan and the record of what it enforces. Pure.

Nothing here makes a system call or reads a file: `kernel` and `host` answer. What cannot be kept is a problem, and all
problems are reported at once, before anything runs.
"""

from __future__ import annotations

from sandrun.errors import Problem, ProfileError, UnsupportedError
from sandrun.kernel import names as kernel_names
from sandrun.named import NamedTuple
from sandrun.plan.account import check_dynamic
from sandrun.plan.draft import Draft, Protection
from sandrun.plan.egress import resolve_egress, wanted
from sandrun.plan.environment import resolve_environment
from sandrun.plan.filesystem import resolve_filesystem
from sandrun.plan.format import Plan
from sandrun.plan.limits import resolve_limits
from sandrun.plan.namespaces import finish, resolve_namespaces
from sandrun.plan.network import resolve_network
from sandrun.plan.privileges import check_no_new_privs, resolve_privileges
from sandrun.plan.process import check_descriptors, resolve_process
from sandrun.plan.syscalls import resolve_syscalls
from sandrun.policy import guards
from sandrun.primitives import landlock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from sandrun.host import Account, Host
    from sandrun.kernel import Kernel
    from sandrun.plan.draft import Guard
    from sandrun.profile.model import Profile, Value

COMPARISONS = (">=", "<=", "==", ">", "<")


class Resolution(NamedTuple):
    """The result: what to execute, what it enforces, and what the user should know before it runs."""

    plan: Plan
    enforcement: tuple[Protection, ...]
    warnings: tuple[str, ...]
    account: Account | None
    guards: tuple[Guard, ...] = ()
    """What the protections besides the syscall lists have seccomp refuse."""


def resolve(profile: Profile, kernel: Kernel, host: Host, argv: Sequence[str]) -> Resolution:
    """Decide how this kernel keeps every protection of `profile` for the command `argv`.

    Raises ProfileError or UnsupportedError with every problem found (status 125), CommandError if the command cannot
    be found or executed (127, 126).
    """
    draft = Draft(profile)
    _check_requirements(draft, kernel)
    account = resolve_privileges(draft, kernel, host)
    resolve_environment(draft, host, account)
    resolve_egress(draft, kernel, host)
    if wanted(profile) and not draft.egress:
        from sandrun.plan.broker import resolve_broker  # noqa: PLC0415 (few launches need it, and ipaddress is slow)

        resolve_broker(draft, kernel)
    inside = host
    if profile.scalar("filesystem.root"):
        from sandrun.plan.root import enter  # noqa: PLC0415 (few launches need it)

        inside = enter(draft, kernel, host, account)
    resolve_filesystem(draft, kernel, inside, argv, account)
    resolve_network(draft, kernel, inside, account)
    resolve_process(draft, kernel, inside, account)
    if inside is not host:
        from sandrun.plan.root import leave  # noqa: PLC0415 (see above)

        leave(draft, inside)
    resolve_namespaces(draft, kernel)
    check_descriptors(draft, host, lambda path: _writable(draft, path))
    resolve_limits(draft, kernel, host)
    check_dynamic(draft, kernel, host)
    if draft.fields.get("id_helpers"):
        from sandrun.plan.subids import check_mapped  # noqa: PLC0415 (few launches need it)

        check_mapped(draft)
    finish(draft, kernel, host)
    _finish_landlock(draft, kernel)
    _guard_syscalls(draft)
    resolve_syscalls(draft, kernel)
    check_no_new_privs(draft, kernel)
    if draft.problems:
        raise UnsupportedError(list(dict.fromkeys(draft.problems)))
    draft.fields["argv"] = tuple(_encode(word) for word in argv)
    return Resolution(
        Plan(**draft.fields),
        tuple(draft.protections),
        tuple(dict.fromkeys(draft.warnings)),
        account,
        tuple(draft.guards),
    )


def _encode(word: str) -> bytes:
    return word.encode("utf-8", "surrogateescape")


def _finish_landlock(draft: Draft, kernel: Kernel) -> None:
    """Name the ABI that the masks were made for, or 0 when no ruleset is needed."""
    fields = draft.fields
    wanted = any(fields.get(name) for name in ("landlock_fs", "landlock_net", "landlock_scoped"))
    fields["landlock_abi"] = min(kernel.landlock_abi, landlock.NEWEST_ABI) if wanted else 0


def _guard_syscalls(draft: Draft) -> None:
    """Refuse what the syscall sets would let through by argument, unless the profile names the syscall outright.

    Sets hold `clone` for the sake of threads and processes; with a user namespace it opens most of the kernel's
    privileged surface. They hold `chmod`; with a set-user-ID bit it plants a program that lends our ids to others.
    """
    named = {value.value for value in draft.profile.items("syscalls.allow")}
    limited = any(key.startswith("syscalls.") for key in draft.profile.values)
    if limited and "unshare" not in named:
        draft.guards.extend(guards.namespaces())
    if draft.fields["no_new_privs"] and "chmod" not in named:
        draft.guards.extend(guards.set_id_bits())


def _writable(draft: Draft, path: str) -> bool:
    from sandrun.plan.filesystem import allowed  # noqa: PLC0415 (only when a descriptor is open read-write)

    handled = draft.fields.get("landlock_fs", 0)
    write = landlock.FS["write_file"]
    return not handled & write or bool(allowed(draft.fields.get("path_rules", ()), path) & write)


def _check_requirements(draft: Draft, kernel: Kernel) -> None:
    facts = kernel_names(kernel)
    for value in draft.profile.require:
        problem = _unmet(value, facts)
        if problem is not None:
            draft.problems.append(problem)


def _unmet(value: Value, facts: dict[str, int | bool]) -> Problem | None:
    text = str(value.value)
    for sign in COMPARISONS:
        name, found, number = text.partition(sign)
        if found:
            break
    else:
        name, sign, number = text, "", ""
    name, number = name.strip(), number.strip()
    if name not in facts:
        known = ", ".join(sorted(facts))
        raise ProfileError(
            [Problem(str(value.origin), f"not a fact that sandrun doctor knows: {name}", f"one of {known}")]
        )
    have = facts[name]
    if not sign:
        met = bool(have)
    elif not number.isdecimal():
        raise ProfileError([Problem(str(value.origin), f"not a number: {text}", "for example landlock>=4")])
    else:
        want = int(number)
        met = {">=": have >= want, "<=": have <= want, "==": have == want, ">": have > want, "<": have < want}[sign]
    if met:
        return None
    return Problem(str(value.origin), f"required here: {text}; found: {name} = {int(have)}", "see sandrun doctor")
