"""The log process: it reads what the commands of a group write, and writes it with their names to standard error.

What it reads may be hostile, so it has a process of its own, which can do nothing else any more: no file, no socket, no
other process (sandrun/group/cage.py). It ends when nobody is left who could write. Its descriptors are the plan (PLAN),
standard error, and from FIRST on one pipe for each name.
"""

from __future__ import annotations

import os
import select
from typing import TYPE_CHECKING

from sandrun import libc
from sandrun.egress import confine
from sandrun.errors import EXIT_SANDRUN, SandrunError
from sandrun.plan.format import Plan, PlanError
from sandrun.primitives import fds

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

PLAN, FIRST = 0, 3
ERRORS = 2
LONGEST = 4096
"""Bytes of a line; a longer one is told in parts."""
CHUNK = 1 << 16
_HEAD = b"\n\n"
"""Between the names, one a line, and the bytes of the plan."""


def document(names: Sequence[str], plan: Plan) -> bytes:
    """What the log process finds on PLAN."""
    return "\n".join(names).encode() + _HEAD + plan.to_bytes()


def main() -> NoReturn:
    """Be the log process; its exit status matters to nobody."""
    try:
        confine.harden()
        with os.fdopen(os.dup(PLAN), "rb") as file:
            head, _, plan = file.read().partition(_HEAD)
        names = head.decode().split("\n")
        os.close(PLAN)
        libc.close_range(FIRST + len(names), fds.LAST)
        confine.confine(Plan.from_bytes(plan))
    except (OSError, PlanError, SandrunError, ValueError):
        os._exit(EXIT_SANDRUN)
    serve(names)
    os._exit(0)


def serve(names: Sequence[str]) -> None:
    """Pass lines on until every pipe has come to its end, or nobody takes them any more."""
    widest = max(map(len, names))
    open_pipes = {FIRST + at: f"{name:{widest}} | ".encode() for at, name in enumerate(names)}
    unfinished = dict.fromkeys(open_pipes, b"")
    poll = select.poll()
    for fd in open_pipes:
        poll.register(fd, select.POLLIN)
    while open_pipes:
        for fd, _ in poll.poll():
            data = os.read(fd, CHUNK)
            lines, unfinished[fd] = split(unfinished[fd] + data, is_last=not data)
            if not data:
                poll.unregister(fd)
                prefix = open_pipes.pop(fd)
            else:
                prefix = open_pipes[fd]
            if not _write(b"".join(prefix + printable(line) + b"\n" for line in lines)):
                return


def split(data: bytes, *, is_last: bool) -> tuple[list[bytes], bytes]:
    """The lines in these bytes, none longer than LONGEST, and what is left for the next time."""
    *lines, rest = data.split(b"\n")
    parts = [line[at : at + LONGEST] for line in lines for at in range(0, max(len(line), 1), LONGEST)]
    while len(rest) >= LONGEST or (is_last and rest):
        parts.append(rest[:LONGEST])
        rest = rest[LONGEST:]
    return parts, rest


def printable(line: bytes) -> bytes:
    """A line with everything escaped that a terminal could act on, or that is no character."""
    text = line.removesuffix(b"\r").decode("utf-8", "backslashreplace")
    if text.isprintable():
        return text.encode()
    return "".join(one if one.isprintable() or one == "\t" else ascii(one)[1:-1] for one in text).encode()


def _write(data: bytes) -> bool:
    rest = memoryview(data)
    try:
        while rest:
            rest = rest[os.write(ERRORS, rest) :]
    except OSError:
        return False
    return True
