"""Filters as BPF programs, compiled by libseccomp through pyseccomp. Nothing is loaded here.

The one adapter of `pyseccomp`. libseccomp answers some requests otherwise than asked (an unconditional rule swallows
argument rules on the same syscall; equal comparisons test 64 bits; there is one default answer only), so a filter is
split into programs that leave it no choice:

- "numbers": the default is the commonest answer, and each other known syscall has an unconditional rule. A few
  instructions of our own before it answer ENOSYS to unknown numbers, so that a C library falls back.
- "arguments": default ALLOW, only rules with a refusal, one action a syscall, conditions as `seccomp_match` makes
  them. A syscall with several refusals has the next one in a further program.
- Where a syscall is allowed for some arguments and refused for all others, the few are listed: in "numbers" if its
  default is that refusal, else in a program "only", which allows every other known syscall.

The kernel runs all of them and takes the most restrictive answer.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys
from types import ModuleType

from sandrun import libc
from sandrun.errors import SandrunError
from sandrun.named import NamedTuple
from sandrun.primitives.seccomp import ACTION_MASK, ALLOW, ERRNO, KILL_PROCESS, LOG, MAX_INSTRUCTIONS, errno_action
from sandrun.primitives.seccomp_match import TooComplexError, decide

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

    from sandrun.primitives.seccomp_match import Condition, Leaf, Refusal

UNKNOWN = errno_action(errno.ENOSYS)
INSTRUCTION_SIZE = 8
# linux/bpf_common.h, linux/audit.h, asm/unistd.h
BPF_LD_W_ABS, BPF_JEQ_K, BPF_JGE_K, BPF_JGT_K, BPF_RET_K = 0x20, 0x15, 0x35, 0x25, 0x06
AUDIT_ARCHES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
X32_BIT = 0x40000000
MINUS_ONE = 0xFFFFFFFF
MAX_JUMP = 255
API_LEVEL = 3
"""seccomp_api_set(3): KILL_PROCESS and LOG (Linux 4.14)."""
LAST_NUMBER = 0x3FFFFFFF
SECCOMP_NUMBERS = {"x86_64": 317, "aarch64": 277}
"""seccomp(2) itself, which loads the programs one after the other."""


class Rule(NamedTuple):
    """One action for one syscall, where every tested argument is so: (index, mask, value), `argument & mask == value`."""

    number: int
    action: int
    tests: tuple[tuple[int, int, int], ...] = ()


def compile_filter(arch: str, numbers: Mapping[int, int], refusals: Sequence[Refusal]) -> tuple[bytes, ...]:
    """The programs of one filter, in order of loading.

    `numbers` has the answer of each known syscall; every other number gets ENOSYS, every other architecture (i386 and
    x32 on x86_64, 32-bit arm on aarch64) ends the process. A refusal makes the answer more restrictive where its
    conditions hold; of two that differ in the errno only, the first wins.

    Raises TooComplexError if a program is longer than the kernel takes, or if the programs could not all be loaded.
    """
    seccomp = SECCOMP_NUMBERS[arch]
    default = _commonest(numbers, refusals)
    merged = {one.number: one.conditions for one in refusals if one.elsewhere and one.action == default}
    refusals = [one for one in refusals if not (one.elsewhere and one.action == default)]
    listed = [one for one in refusals if _is_listed(one, seccomp)]
    layers = _layers([one for one in refusals if one not in listed])
    programs = [(_rules(layer), ALLOW) for layer in reversed(layers)]
    programs += (
        (_only(numbers, {one.number: one.conditions for one in listed if one.action == action}), action)
        for action in dict.fromkeys(one.action for one in listed)
    )
    made = [(rules, compile_program(arch, other, rules)) for rules, other in programs]
    rules = _by_number(numbers, merged)
    restricts = numbers.get(seccomp, UNKNOWN) not in {ALLOW, LOG} or seccomp in merged
    made.append(([Rule(seccomp, UNKNOWN)] if restricts else [], _numbers_program(arch, default, rules, numbers)))
    # A program is in force while the next one is loaded, so one that restricts seccomp(2) has to be the last.
    made.sort(key=lambda program: _restricts(program[0], seccomp))
    if len(made) > 1 and _restricts(made[-2][0], seccomp):
        raise TooComplexError("seccomp is refused in two different ways, of which only one can be loaded")
    return tuple(program for _, program in made)


def _commonest(numbers: Mapping[int, int], refusals: Sequence[Refusal]) -> int:
    """The default of "numbers" that leaves the fewest rules; what is listed would else take a program more."""
    weights: dict[int, int] = {}
    for action in numbers.values():
        weights[action] = weights.get(action, 0) + 1
    for action in {one.action for one in refusals if one.elsewhere}:
        weights[action] = weights.get(action, 0) + len(numbers)
    return max(weights, key=lambda action: (weights[action], action), default=ALLOW)


def _by_number(numbers: Mapping[int, int], merged: Mapping[int, Sequence[Condition]]) -> list[Rule]:
    rules: list[Rule] = []
    for number, action in sorted(numbers.items(), reverse=True):
        if number in merged:
            rules += (Rule(number, ALLOW, _tests(leaf)) for leaf in decide(merged[number]))
        else:
            rules.append(Rule(number, action))
    return rules


def _numbers_program(arch: str, default: int, rules: Sequence[Rule], numbers: Iterable[int]) -> bytes:
    """The rules, behind the instructions that answer ENOSYS to every other number."""
    number_of = _select_arch(load_pyseccomp(), None, arch)
    known = sorted(number for number in numbers if number_of(number) is not None)
    program = _unknown(arch, known) + compile_program(arch, default, rules)
    _check_length(program)
    return program


def _unknown(arch: str, known: Sequence[int]) -> bytes:
    """BPF that returns ENOSYS for a number of this architecture that is not known, and else falls through.

    Another architecture and x32 numbers fall through as well: what follows kills them. Jumps are relative, so that
    libseccomp's program can stand behind.
    """
    spans: list[list[int]] = []
    for number in known:
        if spans and spans[-1][1] == number - 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    end = 6 + 2 * len(spans)
    if end > MAX_JUMP:
        raise TooComplexError("the known syscall numbers lie too far apart")
    code = [(BPF_LD_W_ABS, 0, 0, 4), (BPF_JEQ_K, 0, end - 2, AUDIT_ARCHES[arch])]
    # -1 is what a tracer writes over a number; libseccomp takes it neither for x32 nor for unknown.
    code += [(BPF_LD_W_ABS, 0, 0, 0), (BPF_JEQ_K, end - 5, 0, MINUS_ONE), (BPF_JGE_K, end - 5, 0, X32_BIT)]
    for first, last in spans:
        at = len(code)
        code.append((BPF_JGE_K, 0, end - 2 - at, first))
        code.append((BPF_JGT_K, 0, end - 2 - at, last))
    code.append((BPF_RET_K, 0, 0, UNKNOWN))
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)


def compile_program(arch: str, default: int, rules: Iterable[Rule]) -> bytes:
    """One program: `default` for every syscall that no rule names.

    Rules whose action is the default are left out: they change nothing, and libseccomp refuses them. Raises ValueError
    for rules that libseccomp would misread: a number that is none (it takes pseudo numbers and cuts off high bits),
    two actions for one syscall, or conditional and unconditional rules for one syscall.
    """
    pyseccomp = load_pyseccomp()
    effective = [rule for rule in rules if rule.action != default]
    _check(effective)
    # libseccomp asks this kernel which actions it may compile, and takes none but the oldest inside another sandbox
    # that refuses seccomp(2). What can be loaded is the kernel's to say, at loading.
    pyseccomp.set_api(API_LEVEL)
    program = pyseccomp.SyscallFilter(default)
    program.set_attr(pyseccomp.Attr.ACT_BADARCH, KILL_PROCESS)
    program.set_attr(pyseccomp.Attr.API_SYSRAWRC, 1)
    if effective:
        # A binary tree over the numbers instead of a chain. Up to libseccomp 2.5.3 one without rules lost the default.
        program.set_attr(pyseccomp.Attr.CTL_OPTIMIZE, 2)
    number_of = _select_arch(pyseccomp, program, arch)
    for rule in effective:
        tests = [pyseccomp.Arg(index, pyseccomp.MASKED_EQ, mask, value) for index, mask, value in rule.tests]
        number = number_of(rule.number)
        if number is not None:
            program.add_rule(rule.action, number, *tests)
    instructions = _export(program)
    _check_length(instructions)
    return instructions


def _check_length(program: bytes) -> None:
    length = len(program) // INSTRUCTION_SIZE
    if length > MAX_INSTRUCTIONS:
        raise TooComplexError(f"the program has {length} instructions, the kernel takes {MAX_INSTRUCTIONS}")


def load_pyseccomp() -> Any:
    """The module `pyseccomp`, imported without running ldconfig or a compiler.

    At import it asks `ctypes.util.find_library` for two libraries, which starts child processes, a `gcc` of the
    caller's PATH among them. It is given the names instead, by a stand-in that lasts as long as the import.
    """
    if "pyseccomp" in sys.modules:
        return sys.modules["pyseccomp"]
    stand_in = ModuleType("ctypes.util")
    vars(stand_in)["find_library"] = {"seccomp": "libseccomp.so.2"}.get
    places: tuple[tuple[dict[str, Any], str], ...] = ((sys.modules, "ctypes.util"), (vars(ctypes), "util"))
    before = [place.get(key) for place, key in places]
    for place, key in places:
        place[key] = stand_in
    try:
        import pyseccomp  # noqa: PLC0415 (needs the stand-in, and 10 ms that a cached plan saves)
    except OSError as error:
        raise SandrunError(
            f"cannot load libseccomp: libseccomp.so.2: {error}",
            hint="install libseccomp2 (Debian, Ubuntu) or libseccomp (Fedora, Alpine)",
        ) from error
    finally:
        for (place, key), value in zip(places, before, strict=True):
            if value is None:
                del place[key]
            else:
                place[key] = value
    return pyseccomp


class _Version(ctypes.Structure):
    """struct scmp_version of seccomp_version(3)."""

    _fields_ = tuple((name, ctypes.c_uint) for name in ("major", "minor", "micro"))


def library_version() -> str:
    """The version of libseccomp. Raises SandrunError if it cannot be loaded."""
    load_pyseccomp()
    version = ctypes.CDLL("libseccomp.so.2").seccomp_version
    version.restype = ctypes.POINTER(_Version)
    found = version().contents
    return f"{found.major}.{found.minor}.{found.micro}"


def _is_listed(refusal: Refusal, seccomp: int) -> bool:
    """Whether what is not refused gets a program of its own.

    Its default meets unknown numbers too, which is harmless as long as it is an errno: "numbers" has the first word.
    """
    return refusal.elsewhere and refusal.action & ACTION_MASK == ERRNO and refusal.number != seccomp


def _only(numbers: Iterable[int], listed: Mapping[int, Sequence[Condition]]) -> list[Rule]:
    return _by_number(dict.fromkeys(numbers, ALLOW), listed)


def _layers(refusals: Sequence[Refusal]) -> list[dict[int, list[Refusal]]]:
    """Refusals such that each layer has one action a syscall; a syscall's first action is in the first layer."""
    merged: dict[int, dict[int, list[Refusal]]] = {}
    for refusal in refusals:
        merged.setdefault(refusal.number, {}).setdefault(refusal.action, []).append(refusal)
    depth = max(map(len, merged.values()), default=0)
    layers: list[dict[int, list[Refusal]]] = [{} for _ in range(depth)]
    for number, actions in merged.items():
        for layer, same in zip(layers, actions.values(), strict=False):
            layer[number] = same
    return layers


def _rules(layer: Mapping[int, Sequence[Refusal]]) -> list[Rule]:
    rules: list[Rule] = []
    for number, refusals in sorted(layer.items()):
        conditions: list[Condition] = []
        for refusal in refusals:
            conditions += _outside(refusal.conditions) if refusal.elsewhere else refusal.conditions
        rules += (Rule(number, refusals[0].action, _tests(leaf)) for leaf in decide(conditions))
    return rules


def _outside(conditions: Iterable[Condition]) -> list[Condition]:
    return [{index: (cube,) for index, cube in leaf.items()} for leaf in decide(conditions, invert=True)]


def _tests(leaf: Leaf) -> tuple[tuple[int, int, int], ...]:
    return tuple((index, mask, value) for index, (mask, value) in leaf.items())


def _restricts(rules: Iterable[Rule], number: int) -> bool:
    return any(rule.number == number and rule.action not in {ALLOW, LOG} for rule in rules)


def _check(rules: Sequence[Rule]) -> None:
    kinds: dict[int, tuple[int, bool]] = {}
    for rule in rules:
        if not 0 <= rule.number <= LAST_NUMBER:
            raise ValueError(f"not a syscall number: {rule.number}")
        kind = (rule.action, bool(rule.tests))
        if kinds.setdefault(rule.number, kind) != kind:
            raise ValueError(f"syscall {rule.number} has rules of two kinds in one program")


def _select_arch(pyseccomp: Any, program: Any, arch: str) -> Callable[[int], int | None]:
    """Make the program, if any, one for `arch`; the function gives the number that libseccomp wants for a rule.

    It wants the native number, and looks the name up for another architecture. There a call that this libseccomp does
    not know has no number: its rule is left out. That is for tests; a launch compiles for the machine it runs on.
    """
    wanted = {"x86_64": pyseccomp.Arch.X86_64, "aarch64": pyseccomp.Arch.AARCH64}[arch]
    native = pyseccomp.system_arch()
    if wanted == native:
        return lambda number: number
    if program is not None:
        program.add_arch(wanted)
        program.remove_arch(native)

    def translate(number: int) -> int | None:
        try:
            found: int = pyseccomp.resolve_syscall(native, pyseccomp.resolve_syscall(wanted, number).decode())
        except ValueError:
            return None
        return found if found >= 0 else None

    return translate


class _Descriptor:
    """What pyseccomp wants instead of a number."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def fileno(self) -> int:
        return self._fd


def _export(program: Any) -> bytes:
    try:
        fd = os.memfd_create("sandrun-seccomp", os.MFD_CLOEXEC)
        try:
            program.export_bpf(_Descriptor(fd))
            size = os.fstat(fd).st_size
            os.pwrite(fd, b"\0", size)  # libseccomp does not look whether all of it was written
            return os.pread(fd, size, 0)
        finally:
            os.close(fd)
    except OSError as error:
        raise SandrunError(
            f"cannot compile the seccomp filter: {libc.strerror(error.errno or 0)}",
            hint="it is made in a file in memory of some kilobytes: raise RLIMIT_FSIZE (ulimit -f)"
            if error.errno == errno.EFBIG
            else None,
        ) from error
