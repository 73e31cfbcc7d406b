"""From `[syscalls]` and the guards to one filter: who wins over whom, what is an error, and what the record says."""

from __future__ import annotations

import errno
from types import MappingProxyType
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandrun.kernel import Kernel
from sandrun.plan.draft import ENFORCED, LOST, Arg, Draft, Guard
from sandrun.plan.syscalls import resolve_syscalls
from sandrun.policy import guards
from sandrun.policy._syscalls import NUMBERS
from sandrun.profile.model import Origin, Profile, SyscallRule, Value
from tests import bpf_sim as sim

if TYPE_CHECKING:
    from collections.abc import Iterable

NR = NUMBERS["x86_64"]
EPERM, ENOSYS, EACCES = (sim.ERRNO | number for number in (sim.EPERM, sim.ENOSYS, sim.EACCES))
GARBAGE = 0xABCD1234 << 32


def profile(source: str = "p.toml", optional: bool = False, **keys: object) -> Profile:
    """A profile of one file with these keys of [syscalls]."""
    values = {}
    for key, found in keys.items():
        entries = found if isinstance(found, list) else [found]
        values[f"syscalls.{key}"] = tuple(
            Value(entry, Origin(source, f"syscalls.{key}[{index}]"), optional) for index, entry in enumerate(entries)
        )
    return Profile("p", values=MappingProxyType(values))


def resolve(asked: Profile, more: Iterable[Guard] = (), kernel: Kernel | None = None) -> Draft:
    draft = Draft(asked)
    draft.guards.extend(more)
    resolve_syscalls(draft, kernel or Kernel(arch="x86_64"))
    return draft


def answer(draft: Draft, name: str | int, *args: int) -> int:
    return sim.verdict(draft.fields["seccomp"], NR[name] if isinstance(name, str) else name, args)


def test_nothing_asked_is_no_filter() -> None:
    """An empty profile without guards loads nothing and records nothing."""
    draft = resolve(profile(allow=[], deny=[]))
    assert (draft.fields["seccomp"], draft.protections, draft.problems) == ((), [], [])


def test_a_denial_alone_leaves_the_rest() -> None:
    """`deny` without `default`: what is named is refused with EPERM, known calls work, unknown ones are ENOSYS."""
    draft = resolve(profile(deny=["ptrace", "@mount"]))
    assert [answer(draft, name) for name in ("ptrace", "mount", "fsopen", "open_tree_attr", "read")] == [EPERM] * 4 + [
        sim.ALLOW
    ]
    assert answer(draft, 9999) == ENOSYS
    (record,) = draft.protections
    assert (record.key, record.mechanisms, record.state) == ("syscalls", ("seccomp",), ENFORCED)
    assert record.requested == ("p.toml: syscalls.deny[0]", "p.toml: syscalls.deny[1]")


@pytest.mark.parametrize(
    "keys",
    [{"allow": ["read"]}, {"promises": ["stdio"]}, {"rules": [SyscallRule("ioctl", 1, "eq", 0x5401, "allow")]}],
)
def test_a_list_of_grants_refuses_the_rest(keys: dict[str, list[object]]) -> None:
    """Whoever allows some syscalls and says no `default` means: no others."""
    draft = resolve(profile(**keys))
    assert answer(draft, "mount") == EPERM
    assert not draft.problems


@pytest.mark.parametrize(
    ("default", "unnamed", "denied"),
    [
        ("allow", sim.ALLOW, EPERM),
        ("errno", EPERM, EPERM),
        ("kill-process", sim.KILL_PROCESS, sim.KILL_PROCESS),
        ("log", sim.LOG, EPERM),
    ],
)
def test_default(default: str, unnamed: int, denied: int) -> None:
    """What nothing names gets the default; a denial is never weaker than it; unknown numbers are always ENOSYS."""
    draft = resolve(profile(default=default, allow=["read"], deny=["ptrace"]))
    assert (answer(draft, "mount"), answer(draft, "ptrace"), answer(draft, "read")) == (unnamed, denied, sim.ALLOW)
    assert answer(draft, 9999) == ENOSYS


def test_the_launch_keeps_what_it_needs() -> None:
    """execve, write and exit_group stay, and the record says so; denying them is an error with its place."""
    draft = resolve(profile(default="kill-process", allow=["read"]))
    assert {answer(draft, name) for name in ("execve", "write", "exit_group")} == {sim.ALLOW}
    assert any("execve" in note for note in draft.protections[0].notes)
    (problem,) = resolve(profile(deny=["@known"], source="q.toml")).problems[:1]
    assert problem.where == "q.toml: syscalls.deny[0]"
    assert "execve cannot be denied" in problem.message


def test_a_denial_wins_over_a_set() -> None:
    """`allow = ["@system-service"], deny = ["@privileged"]` is the usual way to write it, not a contradiction."""
    draft = resolve(profile(allow=["@system-service"], deny=["@privileged", "ptrace"]))
    assert not draft.problems
    assert (answer(draft, "chown"), answer(draft, "read"), answer(draft, "ptrace")) == (EPERM, sim.ALLOW, EPERM)


@pytest.mark.parametrize(
    ("allow", "deny"),
    [("chown", "chown"), ("chown", "@chown"), ("chown", "@privileged"), ("92", "chown"), ("@swap", "@swap")],
)
def test_granted_and_denied_in_one_file_is_an_error(allow: str, deny: str) -> None:
    """One entry on both lists of one file: the error names both places."""
    (problem,) = resolve(profile(allow=["read", allow], deny=[deny])).problems
    assert problem.where == "p.toml: syscalls.allow[1]"
    assert "syscalls.deny[0]" in problem.message


def test_granted_and_denied_by_rule_in_one_file_is_an_error() -> None:
    """A rule that allows is a grant as well."""
    rule = SyscallRule("chown", 1, "eq", 0, "allow")
    (problem,) = resolve(profile(rules=[rule], deny=["chown"])).problems
    assert problem.where == "p.toml: syscalls.rules[0]"


def test_across_files_a_denial_wins() -> None:
    """A layer may deny what another grants."""
    grants, denials = profile(allow=["chown", "read"]), profile(source="q.toml", deny=["chown"])
    draft = resolve(Profile("both", values=MappingProxyType({**grants.values, **denials.values})))
    assert not draft.problems
    assert (answer(draft, "chown"), answer(draft, "read")) == (EPERM, sim.ALLOW)


def test_a_rule_allows_by_argument() -> None:
    """An allowing rule opens one call for some arguments; its others keep the default's answer. Grants add up."""
    rules = [SyscallRule("socket", 0, "eq", 1, "allow"), SyscallRule("socket", 0, "eq", 2 << 0, "allow")]
    draft = resolve(profile(rules=rules))
    assert [answer(draft, "socket", family) for family in (1, 2, 1 | GARBAGE, 10, 0)] == [sim.ALLOW] * 3 + [EPERM] * 2
    draft = resolve(profile(rules=rules, default="kill-process"))
    assert answer(draft, "socket", 10) == sim.KILL_PROCESS


def test_a_rule_refuses_by_argument() -> None:
    """A refusing rule closes a call for some arguments, with the errno that it names."""
    rules = [
        SyscallRule("ioctl", 1, "eq", 0x5412, "errno:EACCES"),
        SyscallRule("kill", 1, "eq", 9, "kill-process"),
        SyscallRule("openat", 0, "ne", 2**64 - 100, "errno"),
        SyscallRule("personality", 0, "masked_eq", 0x40000, "log", 0x40000),
    ]
    draft = resolve(profile(rules=rules))
    assert (answer(draft, "ioctl", 0, 0x5412 | GARBAGE), answer(draft, "ioctl", 0, 0x5413)) == (EACCES, sim.ALLOW)
    assert (answer(draft, "kill", 1, 9), answer(draft, "kill", 1, 15)) == (sim.KILL_PROCESS, sim.ALLOW)
    at_fdcwd = (0xFFFFFF9C, 0xFFFFFFFFFFFFFF9C)
    assert {answer(draft, "openat", value) for value in at_fdcwd} == {sim.ALLOW}
    assert answer(draft, "openat", 5) == EPERM
    assert (answer(draft, "personality", 0x40008), answer(draft, "personality", 8)) == (sim.LOG, sim.ALLOW)


@pytest.mark.parametrize(
    ("rule", "keys", "message"),
    [
        (SyscallRule("socket", 3, "eq", 1, "errno"), {}, "socket has 3 arguments"),
        (SyscallRule("socket", 0, "eq", 1 << 32, "errno"), {}, "does not fit: the kernel reads 32 bits"),
        (SyscallRule("chmod", 1, "masked_eq", 0, "errno", 1 << 20), {}, "the kernel reads 16 bits"),
    ],
)
def test_rules_that_cannot_hold_are_errors(rule: SyscallRule, keys: dict[str, object], message: str) -> None:
    """A rule that no call can meet would be a promise without effect."""
    (problem,) = resolve(profile(rules=[rule], **keys)).problems
    assert problem.where == "p.toml: syscalls.rules[0]"
    assert message in problem.message


@pytest.mark.parametrize(
    ("rule", "keys"),
    [
        (SyscallRule("socket", 0, "eq", 1, "allow"), {"default": "allow"}),
        (SyscallRule("socket", 0, "eq", 1, "errno:EACCES"), {"default": "errno", "allow": ["read"]}),
    ],
)
def test_rules_without_effect_are_warned_of(rule: SyscallRule, keys: dict[str, object]) -> None:
    """A rule that changes nothing is probably not what was meant."""
    draft = resolve(profile(rules=[rule], **keys))
    assert not draft.problems
    assert [
        warning.startswith("p.toml: syscalls.rules[0]: this rule changes nothing") for warning in draft.warnings
    ] == [True]


def test_a_syscall_of_another_architecture_is_skipped_and_noted() -> None:
    """A profile is shared between machines: `socketcall` is no error on x86_64, nor `open` on aarch64."""
    draft = resolve(profile(deny=["socketcall", "open"]))
    assert any("socketcall is no syscall of x86_64" in note for note in draft.protections[0].notes)
    draft = resolve(profile(deny=["open"]), kernel=Kernel(arch="aarch64"))
    assert not draft.problems
    assert any("open is no syscall of aarch64" in note for note in draft.protections[0].notes)


def test_raw_numbers() -> None:
    """A number is a syscall of this architecture, known or not."""
    draft = resolve(profile(allow=["0", "1000"], deny=["1001"]))
    assert [answer(draft, number) for number in (0, 1000, 1001, 1002, 3)] == [
        sim.ALLOW,
        sim.ALLOW,
        EPERM,
        ENOSYS,
        EPERM,
    ]
    assert any("1000 is unknown" in note for note in draft.protections[0].notes)


def test_newer_calls_fall_back() -> None:
    """Unnamed clone3 answers ENOSYS where clone is allowed, so that threads start; denied by name it is EPERM."""
    draft = resolve(profile(default="kill-process", allow=["clone", "openat"]))
    assert (answer(draft, "clone3"), answer(draft, "openat2")) == (ENOSYS, ENOSYS)
    assert answer(draft, "faccessat2") == sim.KILL_PROCESS
    assert answer(resolve(profile(allow=["clone"], deny=["clone3"])), "clone3") == EPERM
    assert answer(resolve(profile(allow=["clone", "clone3"])), "clone3") == sim.ALLOW


def test_guards_win_over_grants() -> None:
    """What another protection refuses stays refused, whatever the profile allows; kill stays kill."""
    wanted = (
        Guard("socket", "errno:EAFNOSUPPORT", "network.connect", (Arg(0, "not_in", values=(1,)),)),
        Guard("clone3", "errno:ENOSYS", "syscalls"),
        Guard("ptrace", "errno:EPERM", "syscalls"),
    )
    draft = resolve(profile(default="allow", allow=["socket", "clone3", "ptrace"]), wanted)
    assert (answer(draft, "socket", 2 | GARBAGE), answer(draft, "socket", 1)) == (
        sim.ERRNO | errno.EAFNOSUPPORT,
        sim.ALLOW,
    )
    assert (answer(draft, "clone3"), answer(draft, "ptrace")) == (ENOSYS, EPERM)
    draft = resolve(profile(default="kill-process", allow=["read"]), wanted)
    assert (answer(draft, "ptrace"), answer(draft, "socket", 2)) == (sim.KILL_PROCESS, sim.KILL_PROCESS)
    assert answer(resolve(profile(deny=["clone3"]), wanted), "clone3") == ENOSYS


def test_guards_alone_make_a_filter_without_a_record() -> None:
    """Whoever asked for the guard records it; foreign ABIs and unknown numbers are closed all the same."""
    draft = resolve(profile(), guards.terminal_injection())
    assert draft.protections == []
    assert (answer(draft, "ioctl", 0, 0x5412), answer(draft, 9999)) == (EPERM, ENOSYS)
    assert sim.verdict(draft.fields["seccomp"], 1, (), sim.I386) == sim.KILL_PROCESS


@pytest.mark.parametrize("kernel", [Kernel(arch="x86_64", seccomp_filter=False), Kernel(arch="riscv64")])
def test_no_filter_no_promise(kernel: Kernel) -> None:
    """Without filters every protection that needs one is a problem, or recorded as lost if optional."""
    draft = resolve(profile(deny=["ptrace"]), guards.terminal_injection(), kernel)
    assert draft.fields["seccomp"] == ()
    assert len(draft.problems) == 2
    draft = resolve(profile(deny=["ptrace"], optional=True), (), kernel)
    assert not draft.problems
    assert [(record.key, record.state) for record in draft.protections] == [("syscalls.deny", LOST)]


def test_a_lost_guard_leaves_no_claim_behind() -> None:
    """A protection that was recorded as enforced by seccomp is not, once there is no filter."""
    draft = Draft(profile())
    draft.record("process.tty", "seccomp", "setsid")
    draft.guards.extend(guards.terminal_injection())
    resolve_syscalls(draft, Kernel(seccomp_filter=False))
    assert draft.protections == []
    assert draft.problems


def test_too_many_conditions_are_an_error() -> None:
    """A filter that the kernel would not take is reported before anything runs."""
    rules = [SyscallRule("lseek", 1, "eq", 2 * number, "errno") for number in range(4200)]
    (problem,) = resolve(profile(rules=rules)).problems
    assert "cannot make the syscall filter" in problem.message


names = st.sampled_from(sorted(NR))
sets = st.sampled_from(["@file-system", "@network-io", "@privileged", "@default", "@known", "@ipc"])
entries = st.lists(st.one_of(names, sets), max_size=4)


@settings(max_examples=40, deadline=None)
@given(allow=entries, deny=entries, default=st.sampled_from(["allow", "errno", "kill-process", "log", None]))
def test_every_syscall_gets_its_answer(allow: list[str], deny: list[str], default: str | None) -> None:
    """For random lists: denied if any entry denies it, else allowed if any allows it, else the default."""
    from sandrun.policy import syscalls

    keys = {"allow": allow, "deny": deny} | ({"default": default} if default else {})
    draft = resolve(profile(**keys))
    if draft.problems or not draft.fields["seccomp"]:
        return
    allowed, denied = (
        {n for entry in entries for n in syscalls.meaning(entry, "x86_64").numbers} for entries in (allow, deny)
    )
    unnamed = {"allow": sim.ALLOW, "errno": EPERM, "kill-process": sim.KILL_PROCESS, "log": sim.LOG}
    rest = unnamed[default or ("errno" if allow else "allow")]
    exceptions = {
        "execve",
        "write",
        "exit_group",
        "clone3",
        "openat2",
        "faccessat2",
        "fchmodat2",
        "statx",
        "epoll_pwait2",
    }
    for name in set(NR) - exceptions:
        refused = sim.KILL_PROCESS if default == "kill-process" else EPERM
        expected = refused if NR[name] in denied else sim.ALLOW if NR[name] in allowed else rest
        assert answer(draft, name) == expected, name
