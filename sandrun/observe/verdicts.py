"""What the plan's filters say to a call, asked of the programs themselves and remembered by what they look at."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from sandrun.audit import bpf
from sandrun.primitives.seccomp import ACTION_MASK, ALLOW, ERRNO, LOG
from sandrun.primitives.seccomp_compile import AUDIT_ARCHES

if TYPE_CHECKING:
    from collections.abc import Sequence

    Code = Sequence[tuple[int, int, int, int]]

MOST_REMEMBERED = 10_000
_ARGUMENTS, _WORDS = 16, 6
_ERRNO_MASK = 0xFFFF


class Verdicts:
    """The programs of one plan on one architecture."""

    __slots__ = ("_arch", "_codes", "_indices", "_known", "_programs")

    def __init__(self, programs: Sequence[bytes], arch: str) -> None:
        self._programs = tuple(programs)
        self._arch = arch
        self._codes = [list(struct.iter_unpack("=HBBI", program)) for program in programs]
        self._indices: dict[int, tuple[int, ...]] = {}
        self._known: dict[tuple[int, ...], int] = {}

    def indices(self, number: int) -> tuple[int, ...]:
        """Which arguments of this call the programs look at."""
        found = self._indices.get(number)
        if found is None:
            loads = {at for code in self._codes for at in _loads(code, AUDIT_ARCHES[self._arch], number)}
            found = tuple(
                index for index in range(_WORDS) if loads & {_ARGUMENTS + 8 * index, _ARGUMENTS + 8 * index + 4}
            )
            if len(self._indices) >= MOST_REMEMBERED:
                self._indices.clear()
            self._indices[number] = found
        return found

    def answer(self, number: int, arguments: Sequence[int]) -> int:
        """The action, as `audit.bpf.answer`."""
        indices = self.indices(number)
        key = (number, *[arguments[index] for index in indices])
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= MOST_REMEMBERED:
                self._known.clear()
            found = self._known[key] = bpf.answer(self._programs, self._arch, number, arguments)
        return found

    def lets(self, number: int, arguments: Sequence[int]) -> bool:
        """Whether the call goes through."""
        return self.answer(number, arguments) & ACTION_MASK in (ALLOW, LOG)

    def refusal(self, number: int, arguments: Sequence[int]) -> int:
        """The errno that the call fails with; 0 if it goes through, or kills."""
        action = self.answer(number, arguments)
        return action & _ERRNO_MASK if action & ACTION_MASK == ERRNO else 0


def _loads(code: Code, arch: int, number: int) -> set[int]:
    """The offsets of struct seccomp_data that may be loaded for a call of this number, whatever its arguments."""
    given = {0: number & 0xFFFFFFFF, 4: arch}
    loads: set[int] = set()
    # The place, and what the accumulator holds there if that is known.
    todo: list[tuple[int, int | None]] = [(0, None)]
    done: set[tuple[int, int | None]] = set()
    while todo:
        state = todo.pop()
        if state in done:
            continue
        done.add(state)
        at, value = state
        operation, when_true, when_false, operand = code[at]
        if operation == bpf.RETURN:
            continue
        if operation == bpf.JUMP:
            todo.append((at + 1 + operand, value))
        elif operation in (bpf.JUMP_EQUAL, bpf.JUMP_GREATER, bpf.JUMP_GREATER_EQUAL, bpf.JUMP_SET):
            holds = None if value is None else bpf.holds(operation, value, operand)
            todo += [(at + 1 + when_true, value)] if holds is not False else []
            todo += [(at + 1 + when_false, value)] if holds is not True else []
        else:
            if operation == bpf.LOAD_WORD:
                loads.add(operand)
            value = given.get(operand) if operation == bpf.LOAD_WORD else value if operation == bpf.STORE else None
            todo.append((at + 1, value))
    return loads
