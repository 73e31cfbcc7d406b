"""Run a plan's seccomp programs on one syscall: the answer is asked of what will be loaded, not of what was meant.

The instructions are those of classic BPF that seccomp(2) takes and libseccomp makes.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from sandrun.primitives.seccomp import ACTION_MASK, ALLOW
from sandrun.primitives.seccomp_compile import AUDIT_ARCHES

if TYPE_CHECKING:
    from collections.abc import Sequence

# linux/bpf_common.h
LOAD_WORD, LOAD_IMMEDIATE, LOAD_MEMORY, STORE = 0x20, 0x00, 0x60, 0x02
AND, RETURN = 0x54, 0x06
JUMP, JUMP_EQUAL, JUMP_GREATER, JUMP_GREATER_EQUAL, JUMP_SET = 0x05, 0x15, 0x25, 0x35, 0x45
ARGUMENTS = 6
REGISTER = 2**64 - 1


def answer(programs: Sequence[bytes], arch: str, number: int, arguments: Sequence[int] = ()) -> int:
    """What the kernel answers: the most restrictive of all programs, ALLOW where there is none (seccomp(2)).

    Missing arguments are 0. Raises ValueError for an instruction that is not known here.
    """
    words = [word & REGISTER for word in arguments] + [0] * (ARGUMENTS - len(arguments))
    data = struct.pack("=IIQ6Q", number, AUDIT_ARCHES[arch], 0, *words)
    answers = [_run(program, data) for program in programs]
    return min(answers, key=_strictness, default=ALLOW)


def _strictness(action: int) -> int:
    """The kernel compares actions as signed numbers: KILL_PROCESS has the highest bit set."""
    action &= ACTION_MASK
    return action - (1 << 32) if action >> 31 else action


def _run(program: bytes, data: bytes) -> int:
    code = list(struct.iter_unpack("=HBBI", program))
    memory: dict[int, int] = {}
    accumulator = at = 0
    while True:
        operation, when_true, when_false, operand = code[at]
        at += 1
        if operation == RETURN:
            return int(operand)
        if operation == LOAD_WORD:
            (accumulator,) = struct.unpack_from("=I", data, operand)
        elif operation == LOAD_IMMEDIATE:
            accumulator = operand
        elif operation == LOAD_MEMORY:
            accumulator = memory[operand]
        elif operation == STORE:
            memory[operand] = accumulator
        elif operation == AND:
            accumulator &= operand
        elif operation == JUMP:
            at += operand
        else:
            at += when_true if holds(operation, accumulator, operand) else when_false


def holds(operation: int, accumulator: int, operand: int) -> bool:
    """Whether a conditional jump is taken. Raises ValueError for an instruction that is not known here."""
    if operation == JUMP_EQUAL:
        return accumulator == operand
    if operation == JUMP_GREATER:
        return accumulator > operand
    if operation == JUMP_GREATER_EQUAL:
        return accumulator >= operand
    if operation == JUMP_SET:
        return bool(accumulator & operand)
    raise ValueError(f"not an instruction that is known here: {operation:#x}")
