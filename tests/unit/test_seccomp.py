"""Filters mean what they say: conditions become exclusive masked tests, and the compiled BPF, run in a simulator with
constants of its own, agrees with a plain model for every syscall."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandrun.policy._syscalls import NUMBERS
from sandrun.primitives.seccomp import ALLOW, KILL_PROCESS, LOG, errno_action
from sandrun.primitives.seccomp_compile import Rule, compile_filter, compile_program, load_pyseccomp
from sandrun.primitives.seccomp_match import MAX_CUBES, Cube, Refusal, TooComplexError, both, cubes, decide
from tests import bpf_sim as sim

EDGES = (
    0,
    1,
    2,
    5,
    0xFF,
    0xFFFF,
    0x10000,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    1 << 32,
    (1 << 32) + 2,
    1 << 63,
    (1 << 64) - 1,
)
ORDER = ("lt", "le", "gt", "ge")
words = st.one_of(st.sampled_from(EDGES), st.integers(0, 40), st.integers(0, (1 << 64) - 1))


def holds(op: str, operands: tuple[int, ...], mask: int, value: int) -> bool:
    """What a comparison means, said plainly."""
    if op.startswith("masked_"):
        value, op = value & mask, op.removeprefix("masked_")
    return {
        "eq": value in operands,
        "in": value in operands,
        "ne": value not in operands,
        "not_in": value not in operands,
        "lt": value < operands[0] if operands else False,
        "le": value <= operands[0] if operands else False,
        "gt": value > operands[0] if operands else False,
        "ge": value >= operands[0] if operands else False,
    }[op]


@st.composite
def comparisons(draw: st.DrawFn, width: int) -> tuple[str, tuple[int, ...], int]:
    """An operator with operands that fit the width."""
    numbers = st.one_of(st.integers(0, 40), st.integers(0, (1 << width) - 1))
    op = draw(st.sampled_from(("eq", "ne", "in", "not_in", "masked_eq", "masked_ne", "masked_not_in", *ORDER)))
    count = (0, 4) if op.endswith("in") else (1, 1)
    operands = tuple(draw(st.lists(numbers, min_size=count[0], max_size=count[1])))
    if not op.startswith("masked_"):
        return op, operands, 0
    mask = draw(numbers.filter(bool))
    return op, tuple(number & mask for number in operands), mask


def inside(alternatives: list[Cube], value: int) -> bool:
    return any(value & mask == wanted for mask, wanted in alternatives)


@pytest.mark.parametrize("width", [16, 32, 64])
@given(data=st.data())
def test_cubes_hold_where_the_comparison_does(width: int, data: st.DataObject) -> None:
    """A comparison and its cubes agree on the bits that the kernel reads, whatever stands above them."""
    op, operands, mask = data.draw(comparisons(width))
    found = cubes(op, operands, mask, width)
    near = st.one_of(words, *(st.just(number + step) for number in operands for step in (-1, 0, 1)))
    for value in data.draw(st.lists(near, min_size=1, max_size=8)):
        assert inside(found, value % (1 << 64)) == holds(op, operands, mask, value % (1 << width))


@given(data=st.data(), grant=st.booleans())
def test_cubes_of_unknown_width_err_on_the_safe_side(data: st.DataObject, grant: bool) -> None:
    """A refusal holds if it does for the low half or the whole, a grant only if it does for both."""
    op, operands, mask = data.draw(comparisons(32))
    found = cubes(op, operands, mask, 0, grant=grant)
    for value in data.draw(st.lists(words, min_size=1, max_size=8)):
        low, whole = (holds(op, operands, mask, value % (1 << width)) for width in (32, 64))
        assert inside(found, value) == ((low and whole) if grant else (low or whole))


def test_negative_operands_are_twos_complement() -> None:
    """AT_FDCWD is -100, however the caller extends it."""
    found = cubes("eq", (-100,), 0, 32)
    assert inside(found, 0xFFFFFF9C)
    assert inside(found, 0xFFFFFFFFFFFFFF9C)
    assert not inside(found, 100)


@pytest.mark.parametrize(
    ("op", "operands", "mask", "width", "words"),
    [
        ("eq", (1 << 32,), 0, 32, "does not fit"),
        ("eq", (-(1 << 40),), 0, 32, "does not fit"),
        ("lt", (-1,), 0, 32, "compared unsigned"),
        ("masked_eq", (2,), 1, 32, "never compares equal"),
        ("masked_eq", (0,), 1 << 40, 32, "mask"),
    ],
)
def test_comparisons_that_cannot_hold_are_errors(
    op: str, operands: tuple[int, ...], mask: int, width: int, words: str
) -> None:
    """What no argument can meet is reported, not compiled into nothing."""
    with pytest.raises(ValueError, match=words):
        cubes(op, operands, mask, width)


@st.composite
def conditions(draw: st.DrawFn, most: int = 3) -> dict[int, list[Cube]]:
    """Tests of up to two arguments of 32 or 64 bits."""
    chosen = draw(st.lists(st.sampled_from((0, 1, 2)), max_size=2, unique=True))
    return {index: cubes(*draw(comparisons(width := draw(st.sampled_from((32, 64))))), width) for index in chosen}


def met(condition: dict[int, list[Cube]], args: tuple[int, ...]) -> bool:
    return all(inside(alternatives, args[index]) for index, alternatives in condition.items())


arguments = st.tuples(words, words, words)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    asked=st.lists(conditions(), max_size=3), samples=st.lists(arguments, min_size=1, max_size=6), invert=st.booleans()
)
def test_decide_covers_exactly_and_without_overlap(
    asked: list[dict[int, list[Cube]]], samples: list[tuple[int, int, int]], invert: bool
) -> None:
    """One leaf holds exactly where one of the conditions does, never two."""
    try:
        leaves = decide(asked, invert=invert)
    except TooComplexError:
        return
    for args in samples:
        hits = sum(met({index: [cube] for index, cube in leaf.items()}, args) for leaf in leaves)
        assert hits == (any(met(condition, args) for condition in asked) != invert)


def test_a_product_of_conditions_that_is_too_large_is_an_error() -> None:
    """A condition product ends in a message, not in an exhausted memory."""
    one = cubes("not_in", tuple(range(0, 4000, 7)), 0, 64)
    with pytest.raises(TooComplexError):
        decide([{0: one, 1: one, 2: one}])
    assert len(decide([{0: one}])) <= MAX_CUBES


def test_both_is_the_intersection() -> None:
    """Two tests of one argument hold together where each does."""
    found = both(cubes("ge", (10,), 0, 32), cubes("lt", (20,), 0, 32))
    assert [n for n in range(40) if inside(found, n)] == list(range(10, 20))


# --- programs, through the simulator -------------------------------------------------------------------------------

EPERM, EACCES = errno_action(1), errno_action(13)
ARCH = {"x86_64": sim.X86_64, "aarch64": sim.AARCH64}
FOREIGN = {"x86_64": sim.I386, "aarch64": sim.ARM}
LIBSECCOMP_KNOWS = 449
"""For another architecture than this machine's, libseccomp compiles only what it can translate by name."""


def table(arch: str, names: list[str]) -> dict[int, int]:
    return {NUMBERS[arch][name]: ALLOW for name in names}


BOTH = sorted(name for name in NUMBERS["aarch64"] if NUMBERS["x86_64"].get(name, 999) < LIBSECCOMP_KNOWS)
actions = st.sampled_from((ALLOW, EPERM, EACCES, LOG, KILL_PROCESS))


def strictest(answers: list[int]) -> int:
    order = (KILL_PROCESS, 0x00050000, LOG, ALLOW)
    return min(answers, key=lambda action: order.index(action & 0xFFFF0000))


@pytest.mark.parametrize("arch", ["x86_64", "aarch64"])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_programs_agree_with_the_rules(arch: str, data: st.DataObject) -> None:
    """For random rules, the programs answer every syscall as the rules say, with garbage in high halves too."""
    names = data.draw(st.lists(st.sampled_from(BOTH), min_size=1, max_size=5, unique=True))
    numbers = dict(zip(table(arch, names), data.draw(st.lists(actions, min_size=5, max_size=5)), strict=False))
    asked = data.draw(st.lists(st.tuples(st.sampled_from(sorted(numbers)), actions, conditions()), max_size=4))
    refusals = [Refusal(number, action, [condition]) for number, action, condition in asked if action != ALLOW]
    try:
        programs = compile_filter(arch, numbers, refusals)
    except TooComplexError:
        return
    for number in (*numbers, 60, 9999):
        for args in data.draw(st.lists(arguments, min_size=2, max_size=5)):
            hits = [r.action for r in refusals if r.number == number and any(met(dict(c), args) for c in r.conditions)]
            expected = strictest([numbers.get(number, errno_action(38)), *hits])
            assert sim.verdict(programs, number, args, ARCH[arch]) == expected
        assert sim.verdict(programs, number, (), FOREIGN[arch]) == sim.KILL_PROCESS


def test_every_known_number_and_no_other() -> None:
    """Known numbers answer as told, all others ENOSYS, -1 included, and nothing falls through to ALLOW."""
    known = NUMBERS["x86_64"].values()
    numbers = {number: (ALLOW, EPERM, LOG)[number % 3] for number in known}
    (program,) = compile_filter("x86_64", numbers, [])
    for number in (*range(-1, 600), 9999, 1 << 29):
        assert sim.run(program, number) == numbers.get(number, errno_action(38)), number


@pytest.mark.parametrize("arch", ["x86_64", "aarch64"])
def test_foreign_numbers_are_killed(arch: str) -> None:
    """i386 and x32 on x86_64, 32-bit arm on aarch64: the process ends, for every number, in every program."""
    numbers = table(arch, BOTH)
    refused = {NUMBERS[arch]["socket"]: [{0: cubes("eq", (2,), 0, 32)}]}
    programs = compile_filter(arch, numbers, [Refusal(number, EPERM, found) for number, found in refused.items()])
    assert len(programs) == 2
    foreign = {"x86_64": (sim.I386, sim.AARCH64), "aarch64": (sim.ARM, sim.X86_64)}[arch]
    for program, number in itertools.product(programs, range(600)):
        assert all(sim.run(program, number, (), other) == sim.KILL_PROCESS for other in foreign)
        if arch == "x86_64":
            assert sim.run(program, number | sim.X32_BIT) == sim.KILL_PROCESS


def test_int_arguments_are_compared_in_32_bits() -> None:
    """`TIOCSTI | 1 << 32` is TIOCSTI to the kernel, and to the filter."""
    ioctl = NUMBERS["x86_64"]["ioctl"]
    programs = compile_filter("x86_64", {ioctl: ALLOW}, [Refusal(ioctl, EPERM, [{1: cubes("eq", (0x5412,), 0, 32)}])])
    for high in (0, 1 << 32, 0xFFFFFFFF << 32):
        assert sim.verdict(programs, ioctl, (0, 0x5412 | high)) == sim.ERRNO | sim.EPERM
        assert sim.verdict(programs, ioctl, (0, 0x5413 | high)) == sim.ALLOW


def test_the_first_of_two_errnos_wins() -> None:
    """Where two refusals hold, kill beats errno, and of two errnos the first that was asked for is the answer."""
    condition = [{0: cubes("eq", (7,), 0, 32)}]
    wanted = [Refusal(1, EACCES, condition), Refusal(1, EPERM, condition)]
    assert sim.verdict(compile_filter("x86_64", {1: ALLOW}, wanted), 1, (7,)) == EACCES
    wanted.append(Refusal(1, KILL_PROCESS, condition))
    assert sim.verdict(compile_filter("x86_64", {1: ALLOW}, wanted), 1, (7,)) == sim.KILL_PROCESS


def test_a_program_that_refuses_seccomp_is_loaded_last() -> None:
    """Each program is in force while the next is loaded."""
    seccomp, condition = 317, [{0: cubes("eq", (1,), 0, 32)}]
    programs = compile_filter("x86_64", {seccomp: EPERM, 1: ALLOW}, [Refusal(1, EPERM, condition)])
    assert [sim.run(program, seccomp, (1,)) == sim.ALLOW for program in programs] == [True, False]
    wanted = [Refusal(seccomp, EPERM, condition), Refusal(1, EPERM, condition), Refusal(1, EACCES, condition)]
    programs = compile_filter("x86_64", {seccomp: ALLOW, 1: ALLOW}, wanted)
    assert [sim.run(program, seccomp, (1,)) == sim.ALLOW for program in programs] == [True, True, False]
    with pytest.raises(TooComplexError, match="seccomp"):
        compile_filter("x86_64", {seccomp: ALLOW}, [*wanted, Refusal(seccomp, EACCES, condition)])


def test_too_long_a_program_is_an_error() -> None:
    """The kernel takes 4096 instructions; more is said before anything runs."""
    rules = [Rule(1, EPERM, ((0, 0xFFFFFFFF, value),)) for value in range(4100)]
    with pytest.raises(TooComplexError, match="instructions"):
        compile_program("x86_64", ALLOW, rules)


@pytest.mark.parametrize(
    "rules",
    [
        [Rule(-10060, EPERM)],
        [Rule((1 << 32) + 1, EPERM)],
        [Rule(1, EPERM), Rule(1, KILL_PROCESS)],
        [Rule(1, EPERM), Rule(1, EPERM, ((0, 1, 1),))],
        [Rule(1, EPERM, ((0, 1, 1),)), Rule(1, EACCES, ((0, 1, 0),))],
    ],
)
def test_what_libseccomp_would_misread_is_refused(rules: list[Rule]) -> None:
    """Pseudo numbers, cut-off numbers, and rules of which libseccomp would drop one."""
    with pytest.raises(ValueError, match=r"not a syscall number|two kinds"):
        compile_program("x86_64", ALLOW, rules)


def test_a_program_without_rules_is_its_default() -> None:
    """libseccomp up to 2.5.3 lost the default answer of an optimised program without rules."""
    for default in (ALLOW, EPERM, KILL_PROCESS):
        program = compile_program("x86_64", default, [Rule(1, default)])
        assert {sim.run(program, number) for number in range(400)} == {default}


def test_the_same_filter_gives_the_same_bytes() -> None:
    """A plan is compared and cached by its bytes."""
    wanted = [Refusal(41, EPERM, [{0: cubes("not_in", (1, 2, 10), 0, 32)}])]
    numbers = dict.fromkeys(NUMBERS["x86_64"].values(), ALLOW)
    assert compile_filter("x86_64", numbers, wanted) == compile_filter("x86_64", numbers, wanted)


IMPORT = """
import os, sys
before = set(sys.modules)
def hook(event, args):
    if event in {"os.posix_spawn", "os.fork", "os.forkpty", "subprocess.Popen", "os.exec", "os.system"}:
        raise SystemExit(event)
sys.addaudithook(hook)
from sandrun.primitives.seccomp_compile import load_pyseccomp
assert "pyseccomp" not in sys.modules and "ctypes.util" not in sys.modules
module = load_pyseccomp()
assert module is load_pyseccomp()
assert module.SyscallFilter(module.ALLOW)
import ctypes
assert "ctypes.util" not in sys.modules and not hasattr(ctypes, "util")
import ctypes.util
assert ctypes.util.find_library.__module__ == "ctypes.util" and ctypes.util._findLib_ld
"""


def test_importing_pyseccomp_starts_no_process() -> None:
    """pyseccomp's own import runs ldconfig, or a gcc found through PATH; through the adapter nothing, and the
    stand-in for `ctypes.util` is gone afterwards."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORT], capture_output=True, text=True, env={**os.environ, "PATH": ""}
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_loaded_ctypes_util_is_left_alone() -> None:
    """Whoever imported `ctypes.util` before still has it."""
    import ctypes.util

    before = ctypes.util
    load_pyseccomp()
    assert sys.modules["ctypes.util"] is before is ctypes.util
