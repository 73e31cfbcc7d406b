"""What the filters of a plan answer to a syscall, for some arguments or for any, and which entry decides. Pure."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING

from sandrun.audit import bpf
from sandrun.policy import promises, syscalls
from sandrun.primitives.seccomp import ACTION_MASK, ALLOW, ERRNO, LOG
from sandrun.primitives.seccomp_compile import AUDIT_ARCHES
from sandrun.profile.model import SyscallRule
from sandrun.why.answer import Answer
from sandrun.why.entries import Entry, made_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sandrun.plan.resolve import Resolution
    from sandrun.profile.model import Profile

PASSING = (ALLOW, LOG)
KNOWN_BYTES = 8
"""Of struct seccomp_data: the number and the architecture; behind them are the instruction pointer and the arguments."""


class Calls:
    """The questions about syscalls."""

    def __init__(
        self, profile: Profile, resolution: Resolution, arch: str, ways: Mapping[str, tuple[str, ...]]
    ) -> None:
        self._profile = profile
        self._programs = resolution.plan.seccomp
        self._guards = resolution.guards
        self._arch = arch
        self._ways = ways

    def refused(self, name: str, arguments: Sequence[int] = ()) -> bool:
        """Whether the filters refuse the syscall with these arguments; one that the architecture lacks is refused."""
        number = syscalls.number(name, self._arch)
        if number is None:
            return True
        return bpf.answer(self._programs, self._arch, number, arguments) not in PASSING

    def ask(self, name: str, arguments: Sequence[int] = ()) -> Answer:
        """See `Judge.syscall`."""
        complaint = "a set is many system calls" if syscalls.is_set(name) else (syscalls.complaint(name) or ("",))[0]
        if complaint:
            raise ValueError(complaint)
        act = f"syscall {name}" + "".join(f" {argument}" for argument in arguments)
        number = syscalls.number(name, self._arch)
        if number is None:
            return Answer(act, granted=False, reason=f"{self._arch} has no such system call", mechanisms=("kernel",))
        if not self._programs:
            return Answer(act, granted=True, reason="nothing here filters system calls")
        answers = self._answers(number, arguments)
        passing = [answer for answer in answers if answer in PASSING]
        refusals = tuple(dict.fromkeys(_described(answer) for answer in answers if answer not in PASSING))
        if passing:
            entries = tuple(self._granting(number))
            reason = f"granted by {entries[0]}" if entries else "nothing refuses it"
            notes = (f"with some arguments only: else {' or '.join(refusals)}",) if refusals else ()
            return Answer(act, True, reason, entries, notes=notes)
        entries = tuple(self._refusing(name, number))
        why = f"refused by {entries[0]}" if entries else "no entry grants it"
        return Answer(act, False, f"{why}: {' or '.join(refusals)}", entries, ("seccomp",))

    def _answers(self, number: int, arguments: Sequence[int]) -> list[int]:
        """What the programs may answer. Over all arguments: what any of them may, unless one never lets it pass."""
        if arguments:
            return [bpf.answer(self._programs, self._arch, number, arguments)]
        found = [sorted(_reachable(program, number, AUDIT_ARCHES[self._arch])) for program in self._programs]
        closed = [answers for answers in found if not set(answers) & set(PASSING)]
        return closed[0] if closed else [answer for answers in found for answer in answers]

    def _granting(self, number: int) -> Iterator[Entry]:
        for value in self._profile.items("syscalls.allow"):
            if number in syscalls.meaning(str(value.value), self._arch).numbers:
                yield made_of(value, "syscalls.allow", self._ways)
        for value in self._profile.items("syscalls.promises"):
            words = [*promises.calls(str(value.value)), *(call for call, _ in promises.limited(str(value.value)))]
            if any(number in syscalls.meaning(call, self._arch).numbers for call in words):
                yield made_of(value, "syscalls.promises", self._ways)
        yield from self._ruled(number, "allow")
        default = self._profile.scalar("syscalls.default")
        if default is not None and default.value in ("allow", "log"):
            yield made_of(default, "syscalls.default", self._ways)

    def _refusing(self, name: str, number: int) -> Iterator[Entry]:
        for value in self._profile.items("syscalls.deny"):
            if number in syscalls.meaning(str(value.value), self._arch).numbers:
                yield made_of(value, "syscalls.deny", self._ways)
        yield from self._ruled(number, "")
        for guard in self._guards:
            if guard.syscall == name:
                values = self._profile.items(guard.key)
                yield made_of(values[0], guard.key, self._ways) if values else Entry(guard.key, "", "the default")
        default = self._profile.scalar("syscalls.default")
        if default is not None and default.value not in ("allow", "log"):
            yield made_of(default, "syscalls.default", self._ways)

    def _ruled(self, number: int, action: str) -> Iterator[Entry]:
        """The rules by argument: those of this action, or of every other than "allow"."""
        for value in self._profile.items("syscalls.rules"):
            rule = value.value
            if not isinstance(rule, SyscallRule) or (rule.action == "allow") != (action == "allow"):
                continue
            if number in syscalls.meaning(rule.syscall, self._arch).numbers:
                entry = made_of(value, "syscalls.rules", self._ways)
                yield entry._replace(text=f"{rule.syscall} {rule.action}")


def _described(answer: int) -> str:
    if answer & ACTION_MASK == ERRNO:
        number = answer & 0xFFFF
        return f"it answers {errno.errorcode.get(number, str(number))}"
    return "it kills the process"


def _reachable(program: bytes, number: int, arch: int) -> set[int]:
    """What a program may answer to this number for whatever arguments: both ways are gone where they decide."""
    code = list(struct.iter_unpack("=HBBI", program))
    head = struct.pack("=II", number, arch)
    work: list[tuple[int, int | None, tuple[tuple[int, int | None], ...]]] = [(0, 0, ())]
    seen = set(work)
    answers = set()
    while work:
        at, accumulator, memory = work.pop()
        operation, when_true, when_false, operand = code[at]
        targets = [at + 1]
        if operation == bpf.RETURN:
            answers.add(operand)
            continue
        if operation == bpf.LOAD_WORD:
            known = operand + 4 <= KNOWN_BYTES
            accumulator = int(struct.unpack_from("=I", head, operand)[0]) if known else None
        elif operation == bpf.LOAD_IMMEDIATE:
            accumulator = operand
        elif operation == bpf.LOAD_MEMORY:
            accumulator = dict(memory).get(operand, 0)
        elif operation == bpf.STORE:
            memory = tuple({**dict(memory), operand: accumulator}.items())
        elif operation == bpf.AND:
            accumulator = None if accumulator is None else accumulator & operand
        elif operation == bpf.JUMP:
            targets = [at + 1 + operand]
        elif accumulator is None:
            targets = [at + 1 + when_true, at + 1 + when_false]
        else:
            targets = [at + 1 + (when_true if bpf.holds(operation, accumulator, operand) else when_false)]
        for target in targets:
            state = (target, accumulator, memory)
            if state not in seen:
                seen.add(state)
                work.append(state)
    return answers
