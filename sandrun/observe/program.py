"""The one filter that shows calls to the observer. Pure: bytes in, bytes out.

A notified call is one that the filter answers with USER_NOTIF, and any program that answers with an errno would win over
that (seccomp(2)): what is refused would not be seen. So the plan's programs become part of this one. Where they answer
with an errno, it notifies, and the observer gives that errno; where they let a call through, it notifies of those
that were asked for. What they kill stays killed, by what is left of them beside it.

Between the loading of the filter and execve(2) the child itself makes calls, and nobody could answer them yet. They are
told by where they come from: the text of the C library of this process, which is nowhere in the address space that
execve(2) makes. A command that puts code of its own there is not observed by it, but refused as before.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from sandrun.policy import syscalls
from sandrun.primitives.notify import USER_NOTIF
from sandrun.primitives.seccomp import ACTION_MASK, ALLOW, ERRNO, LOG, MAX_INSTRUCTIONS
from sandrun.primitives.seccomp_compile import AUDIT_ARCHES, SECCOMP_NUMBERS, X32_BIT

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    Code = list[tuple[int, int, int, int]]

EVERY = frozenset(("@known",))
"""Every call, known to sandrun or not."""

LOAD, LOAD_MEMORY, STORE, RETURN = 0x20, 0x60, 0x02, 0x06  # linux/bpf_common.h: BPF_LD, BPF_ST, BPF_RET
LOAD_IMMEDIATE, JUMP, JUMP_EQUAL, JUMP_GREATER, JUMP_GREATER_EQUAL = 0x00, 0x05, 0x15, 0x25, 0x35
NUMBER, ARCH, FROM_LOW, FROM_HIGH = 0, 4, 8, 12  # struct seccomp_data; little-endian
ARGUMENTS = 16
IS_OURS = 15
"""The last of BPF's 16 words of memory; libseccomp begins with the first."""
SENDMSG = {"x86_64": 46, "aarch64": 211}
SET_MODE_FILTER = 1
_HALF = 1 << 32


def merged(
    programs: Sequence[bytes],
    arch: str,
    calls: frozenset[str],
    ours: Iterable[tuple[int, int]],
    channel: int,
    *,
    but: frozenset[str] = frozenset(),
) -> bytes:
    """The program that notifies, made of the plan's own. `ours` are spans of addresses, (first, last); `channel` is the
    descriptor over which the child sends the listener; `but` are left out where `calls` are EVERY. Raises ValueError if
    it is too long for the kernel."""
    code = _mark(ours, _own_calls(arch, channel))
    for program in programs:
        code += _linked(_parse(program))
    code += _wanted(arch, calls, but)
    whole = _with_refusals(code)
    if len(whole) > MAX_INSTRUCTIONS:
        raise ValueError(f"the filter has {len(whole)} instructions, the kernel takes {MAX_INSTRUCTIONS}")
    return b"".join(struct.pack("=HBBI", *line) for line in whole)


def relaxed(program: bytes) -> bytes:
    """What stays of a program beside `merged`: it refuses with an errno no more, but still kills."""
    return b"".join(
        struct.pack("=HBBI", *((RETURN, 0, 0, ALLOW) if _is_errno(line) else line)) for line in _parse(program)
    )


def _parse(program: bytes) -> Code:
    return list(struct.iter_unpack("=HBBI", program))


def _is_errno(line: tuple[int, int, int, int]) -> bool:
    return line[0] == RETURN and line[3] & ACTION_MASK == ERRNO


def _mark(ours: Iterable[tuple[int, int]], exempt: Code) -> Code:
    """Remember whether the call is the child's own, before execve; those of `exempt` then end here."""
    head: Code = []
    spans = [half for first, last in ours for half in _halves(first, last)]
    # Six lines a span: one that does not hold goes on to the next. The last line jumps to `yes`, once it is known where.
    for high, low, top in spans:
        head += [
            (LOAD, 0, 0, FROM_HIGH),
            (JUMP_EQUAL, 0, 4, high),
            (LOAD, 0, 0, FROM_LOW),
            (JUMP_GREATER_EQUAL, 0, 2, low),
            (JUMP_GREATER, 1, 0, top),
            (JUMP, 0, 0, 0),
        ]
    no = [(LOAD_IMMEDIATE, 0, 0, 0), (STORE, 0, 0, IS_OURS), (JUMP, 0, 0, 2 + len(exempt))]
    yes = [(LOAD_IMMEDIATE, 0, 0, 1), (STORE, 0, 0, IS_OURS)]
    for at, line in enumerate(head):
        if line[0] == JUMP:
            head[at] = (JUMP, 0, 0, len(head) - at - 1 + len(no))
    return [*head, *no, *yes, *exempt]


def _halves(first: int, last: int) -> Iterable[tuple[int, int, int]]:
    """A span of addresses as (high word, first and last low word)."""
    while first <= last:
        end = min(last, first | (_HALF - 1))
        yield first // _HALF, first % _HALF, end % _HALF
        first = end + 1


def _own_calls(arch: str, channel: int) -> Code:
    """Calls of the launch that no program of the plan may refuse while it is made: send the listener, load the rest.

    By themselves they are harmless in anybody's hands: a further filter only takes away, and of sendmsg(2) it is the
    one descriptor, without flags.
    """
    return [
        (LOAD, 0, 0, ARCH),
        (JUMP_EQUAL, 0, 10, AUDIT_ARCHES[arch]),
        (LOAD, 0, 0, NUMBER),
        (JUMP_EQUAL, 0, 2, SECCOMP_NUMBERS[arch]),
        (LOAD, 0, 0, ARGUMENTS),
        (JUMP_EQUAL, 5, 6, SET_MODE_FILTER),
        (JUMP_EQUAL, 0, 5, SENDMSG[arch]),
        (LOAD, 0, 0, ARGUMENTS),
        (JUMP_EQUAL, 0, 3, channel),
        (LOAD, 0, 0, ARGUMENTS + 16),
        (JUMP_EQUAL, 0, 1, 0),
        (RETURN, 0, 0, ALLOW),
    ]


def _linked(code: Code) -> Code:
    """A program whose "allow" goes on to what stands behind it."""
    return [
        (JUMP, 0, 0, len(code) - at - 1) if line[0] == RETURN and line[3] & ACTION_MASK in (ALLOW, LOG) else line
        for at, line in enumerate(code)
    ]


def _wanted(arch: str, calls: frozenset[str], but: frozenset[str]) -> Code:
    """Notify of these calls, if they are not the child's own, and let all others through."""
    tests: Code
    if calls == EVERY:
        silent = _numbers(but, arch)
        tests = [(JUMP_EQUAL, len(silent) - at + 1, 0, number) for at, number in enumerate(silent)]
        tests.append((JUMP_GREATER_EQUAL, 1, 0, X32_BIT))
    else:
        numbers = _numbers(calls, arch)
        tests = [(JUMP_EQUAL, len(numbers) - at, 0, number) for at, number in enumerate(numbers)]
        tests.append((JUMP, 0, 0, 1))
    skip = len(tests) + 1
    return [
        (LOAD_MEMORY, 0, 0, IS_OURS),
        (JUMP_EQUAL, skip + 3, 0, 1),
        (LOAD, 0, 0, ARCH),
        (JUMP_EQUAL, 0, skip + 1, AUDIT_ARCHES[arch]),
        (LOAD, 0, 0, NUMBER),
        *tests,
        (RETURN, 0, 0, USER_NOTIF),
        (RETURN, 0, 0, ALLOW),
    ]


def _numbers(calls: frozenset[str], arch: str) -> list[int]:
    """Raises ValueError if they are more than a jump can go."""
    numbers = sorted({number for call in calls for number in syscalls.meaning(call, arch).numbers})
    if len(numbers) > 250:
        raise ValueError(f"{len(numbers)} different calls are too many to be told apart: ask for every one")
    return numbers


def _with_refusals(code: Code) -> Code:
    """Have what refuses with an errno notify; the child's own calls are refused at once."""
    actions = list(dict.fromkeys(line[3] for line in code if _is_errno(line)))
    places = {action: len(code) + 4 * index for index, action in enumerate(actions)}
    linked = [(JUMP, 0, 0, places[line[3]] - at - 1) if _is_errno(line) else line for at, line in enumerate(code)]
    for action in actions:
        linked += [
            (LOAD_MEMORY, 0, 0, IS_OURS),
            (JUMP_EQUAL, 0, 1, 1),
            (RETURN, 0, 0, action),
            (RETURN, 0, 0, USER_NOTIF),
        ]
    return linked
