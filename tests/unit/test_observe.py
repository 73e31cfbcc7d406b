"""The filter that shows calls to the observer, asked of an interpreter of its own; and what is read from a call."""

from __future__ import annotations

import errno
import os
import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandrun.observe import program, reading
from sandrun.observe.calls import DOING, NAMED
from sandrun.observe.events import ABSENT, DIRECTORY, FILE, Variant
from sandrun.observe.verdicts import Verdicts
from sandrun.policy import syscalls
from sandrun.primitives.seccomp import errno_action
from sandrun.primitives.seccomp_compile import compile_filter
from sandrun.primitives.seccomp_match import Refusal
from sandrun.trace import coverage
from tests import bpf_sim

if TYPE_CHECKING:
    from collections.abc import Sequence

ARCH = "x86_64"
USER_NOTIF = 0x7FC00000
NUMBERS = syscalls.numbers(ARCH)
CHANNEL = 7
OURS = ((0x7F00_1000_0000, 0x7F00_1000_FFFF), (0x7EFF_FFFF_F000, 0x7F00_0000_0FFF))
"""The second lies across a border of 4 GiB."""
STRANGER = 0x5555_0000_0000


def run(code: bytes, name: str, args: Sequence[int] = (), at: int = STRANGER, arch: int = bpf_sim.X86_64) -> int:
    return bpf_sim.run(code, NUMBERS[name], args, arch, at)


def plan_programs() -> tuple[bytes, ...]:
    """socket answers EACCES for family 2, mount EPERM, ptrace kills, everything else is allowed."""
    numbers = dict.fromkeys(NUMBERS.values(), bpf_sim.ALLOW)
    numbers[NUMBERS["mount"]] = errno_action(errno.EPERM)
    numbers[NUMBERS["ptrace"]] = bpf_sim.KILL_PROCESS
    refusals = [Refusal(NUMBERS["socket"], errno_action(errno.EACCES), [{0: [(0xFFFFFFFF, 2)]}])]
    return compile_filter(ARCH, numbers, refusals)


@pytest.fixture(scope="module", name="merged")
def _merged() -> bytes:
    return program.merged(plan_programs(), ARCH, frozenset({"openat", "socket"}), OURS, CHANNEL)


def test_what_is_wanted_is_shown(merged: bytes) -> None:
    """The calls that were asked for are notified of, all others go through unseen."""
    assert run(merged, "openat") == USER_NOTIF
    assert run(merged, "socket", (1,)) == USER_NOTIF
    assert run(merged, "read") == bpf_sim.ALLOW
    assert run(merged, "execve") == bpf_sim.ALLOW


def test_what_the_plan_refuses_is_shown(merged: bytes) -> None:
    """A call that a program of the plan refuses with an errno is notified of, also one that was not asked for."""
    assert run(merged, "mount") == USER_NOTIF
    assert run(merged, "socket", (2,)) == USER_NOTIF


def test_what_the_plan_kills_is_killed(merged: bytes) -> None:
    """Whoever asks, and from wherever."""
    for at in (STRANGER, OURS[0][0]):
        assert run(merged, "ptrace", at=at) == bpf_sim.KILL_PROCESS
        assert run(merged, "openat", at=at, arch=bpf_sim.I386) == bpf_sim.KILL_PROCESS


@pytest.mark.parametrize("at", [first for first, _ in OURS] + [last for _, last in OURS] + [0x7F00_0000_0000])
def test_own_calls_are_not_shown(merged: bytes, at: int) -> None:
    """Nobody could answer them: they go through, or are refused at once."""
    assert run(merged, "openat", at=at) == bpf_sim.ALLOW
    assert run(merged, "mount", at=at) == errno_action(errno.EPERM)
    assert run(merged, "socket", (2,), at=at) == errno_action(errno.EACCES)


@pytest.mark.parametrize("at", [OURS[0][0] - 1, OURS[0][1] + 1, OURS[1][0] - 1, OURS[1][1] + 1, 0, 2**64 - 1])
def test_beside_own_code(merged: bytes, at: int) -> None:
    """An address beside the spans is the command's."""
    assert run(merged, "openat", at=at) == USER_NOTIF


def test_the_launch_goes_on() -> None:
    """The child can send the listener and load the other programs, whatever the plan refuses; the command cannot."""
    refused = errno_action(errno.EPERM)
    numbers = dict.fromkeys(NUMBERS.values(), refused) | {NUMBERS["execve"]: bpf_sim.ALLOW}
    merged = program.merged(compile_filter(ARCH, numbers, ()), ARCH, frozenset(), OURS, CHANNEL)
    ours = OURS[0][0]
    assert run(merged, "sendmsg", (CHANNEL, 1, 0), ours) == bpf_sim.ALLOW
    assert run(merged, "seccomp", (1, 0, 1), ours) == bpf_sim.ALLOW
    assert run(merged, "sendmsg", (CHANNEL + 1, 1, 0), ours) == refused
    assert run(merged, "sendmsg", (CHANNEL, 1, 0x20000000), ours) == refused
    assert run(merged, "seccomp", (0, 0, 1), ours) == refused
    assert run(merged, "sendmsg", (CHANNEL, 1, 0)) == USER_NOTIF
    assert run(merged, "seccomp", (1, 0, 1)) == USER_NOTIF


def test_without_programs() -> None:
    """A plan without filters: every call is shown, but those of other architectures."""
    merged = program.merged((), ARCH, program.EVERY, OURS, CHANNEL)
    assert run(merged, "read") == USER_NOTIF
    assert bpf_sim.run(merged, 5000, (), bpf_sim.X86_64, STRANGER) == USER_NOTIF
    assert run(merged, "read", at=OURS[0][0]) == bpf_sim.ALLOW
    assert run(merged, "read", arch=bpf_sim.I386) == bpf_sim.ALLOW


def test_relaxed() -> None:
    """Beside it nothing refuses with an errno any more, since that would win; what kills stays."""
    programs = [program.relaxed(one) for one in plan_programs()]
    assert {run(one, "mount") for one in programs} == {bpf_sim.ALLOW}
    assert bpf_sim.KILL_PROCESS in {run(one, "ptrace") for one in programs}


def test_too_long() -> None:
    """A program that the kernel would not take is refused before anything runs."""
    allow = struct.pack("=HBBI", 6, 0, 0, bpf_sim.ALLOW)
    with pytest.raises(ValueError, match="instructions"):
        program.merged((allow * 4096,), ARCH, frozenset(), OURS, CHANNEL)


def test_every_named_call_fits() -> None:
    """All that is read can be asked for at once, on both architectures."""
    for arch in ("x86_64", "aarch64"):
        assert program.merged((), arch, NAMED, OURS, CHANNEL)
    assert DOING < NAMED


@given(st.sampled_from(sorted(NUMBERS)), st.lists(st.integers(0, 2**64 - 1), min_size=6, max_size=6))
def test_verdicts_agree(name: str, args: list[int]) -> None:
    """What is remembered by the arguments that matter is what the programs answer to all of them."""
    programs = plan_programs()
    verdicts = Verdicts(programs, ARCH)
    verdicts.answer(NUMBERS[name], [0] * 6)
    expected = bpf_sim.verdict(programs, NUMBERS[name], args)
    assert verdicts.answer(NUMBERS[name], args) == expected
    assert verdicts.refusal(NUMBERS[name], args) == (expected & 0xFFFF if expected & 0xFFFF0000 == bpf_sim.ERRNO else 0)


def test_arguments_that_matter() -> None:
    """Only those that a program looks at for this call."""
    verdicts = Verdicts(plan_programs(), ARCH)
    assert verdicts.indices(NUMBERS["socket"]) == (0,)
    assert verdicts.indices(NUMBERS["read"]) == ()


@pytest.mark.parametrize(
    ("flags", "kind", "expected"),
    [
        (os.O_RDONLY, FILE, ("read", ("read_file",))),
        (os.O_RDONLY, DIRECTORY, ("read", ("read_dir",))),
        (os.O_WRONLY, FILE, ("write", ("write_file",))),
        (os.O_RDWR | os.O_TRUNC, FILE, ("write", ("read_file", "write_file", "truncate"))),
        (os.O_WRONLY | os.O_CREAT, FILE, ("write", ("write_file",))),
        (os.O_WRONLY | os.O_CREAT, ABSENT, ("create", ("make_reg", "write_file"))),
        (os.O_RDONLY, ABSENT, ("read", ("read_file",))),
        (os.O_PATH, FILE, ("look", ())),
        (os.O_TMPFILE | os.O_RDWR, DIRECTORY, ("create", ("write_file", "read_file"))),
    ],
)
def test_opening(flags: int, kind: str, expected: tuple[str, tuple[str, ...]]) -> None:
    """The rights that open(2) takes, as the kernel's hooks ask for them."""
    assert reading.opening_rights(flags, kind) == expected


def variant(name: str, *arguments: int) -> Variant:
    return Variant(name, NUMBERS.get(name, 5000), (*arguments, *[0] * (6 - len(arguments))), 1)


def test_promises() -> None:
    """The promises that cover calls, by their arguments; what no promise covers is named."""
    assert coverage.promised([variant("read"), variant("openat", 0, 0, os.O_RDONLY)], ARCH).names == ("stdio",)
    writes = coverage.promised([variant("openat", 0, 0, os.O_WRONLY | os.O_TRUNC)], ARCH)
    assert len(writes.names) == 2
    assert coverage.promised([variant("socket", 2)], ARCH).names[1:] in (("inet",), ("dns",))
    assert coverage.promised([variant("socket", 17), variant("mount")], ARCH).besides == ("mount", "socket")
    assert coverage.promised([variant("clone3")], ARCH).besides == ()


def candidate(name: str, *allowed: str) -> coverage.Candidate:
    numbers = dict.fromkeys(NUMBERS.values(), errno_action(errno.EPERM)) | {
        NUMBERS[one]: bpf_sim.ALLOW for one in allowed
    }
    return coverage.Candidate(name, Verdicts(compile_filter(ARCH, numbers, ()), ARCH), frozenset(allowed))


def test_the_tightest() -> None:
    """Profiles that let all calls through, the one that allows least first, and what the others add to it."""
    wide = candidate("wide", "read", "write", "mount", "ptrace")
    narrow = candidate("narrow", "read", "write", "close")
    found = coverage.sufficient([variant("read")], [wide, candidate("none", "write"), narrow])
    assert [one.name for one in found] == ["narrow", "wide"]
    assert found[0].needless == ("close", "write")
    assert found[1].needless == ("mount", "ptrace")
    assert coverage.sufficient([variant("kexec_load")], [wide, narrow]) == ()


def test_the_tightest_refuses_no_file_either() -> None:
    """One whose filters do and whose files do not is told with what it would refuse; the measure is the one that is enough."""
    narrow = candidate("narrow", "read", "close")._replace(refuses=lambda: ("open /x for reading",))
    enough, wide = candidate("enough", "read", "close", "write"), candidate("wide", "read", "close", "write", "mount")
    found = coverage.sufficient([variant("read")], [wide, enough, narrow])
    assert [(one.name, one.refuses) for one in found] == [
        ("narrow", ("open /x for reading",)),
        ("enough", ()),
        ("wide", ()),
    ]
    assert found[1].needless == ("close", "write")
    assert found[2].needless == ("mount",)
