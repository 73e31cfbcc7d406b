"""What the copy of an output is held to, in the order of what it costs: size, UTF-8, lines, JSON Schema."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from sandrun.profile.json_schema import MismatchError, parse
from sandrun.profile.pattern import Pattern, TooSlowError

if TYPE_CHECKING:
    from sandrun.brokered.declared import Output

MOST_SECONDS = 30.0
"""For the lines and the schema of one output."""
_CHUNK = 1 << 20


class RefusedError(Exception):
    """An output is not what it was declared to be; the text says why, and repeats nothing of it."""


def copy(fd: int, most: int) -> bytes:
    """The content of a file, read once; whoever wrote it may still have it mapped, so nothing is looked at twice.

    Raises RefusedError if it is larger than `most` bytes: neither is more than that read, however large it claims to be.
    """
    pieces: list[bytes] = []
    size = 0
    while True:
        piece = os.pread(fd, min(_CHUNK, most + 1 - size), size)
        size += len(piece)
        if size > most:
            raise RefusedError(f"it is larger than its limit of {most} bytes")
        if not piece:
            return b"".join(pieces)
        pieces.append(piece)


def check(output: Output, data: bytes) -> None:
    """Raise RefusedError unless the data is what the output may be; a validator is not asked here."""
    if not (output.utf8 or output.line or output.schema):
        return
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise RefusedError(f"byte {error.start} is not UTF-8") from None
    deadline = time.monotonic() + MOST_SECONDS
    try:
        if output.line:
            _check_lines(Pattern(output.line), text, deadline)
        if output.schema:
            output.schema.check(parse(text), deadline)
    except TooSlowError:
        raise RefusedError(f"it takes more than {MOST_SECONDS:.0f} seconds to read") from None
    except MismatchError as mismatch:
        raise RefusedError(f"not what its schema says: {mismatch}") from None
    except ValueError as error:
        raise RefusedError(f"not JSON: {error}") from None


def _check_lines(pattern: Pattern, text: str, deadline: float) -> None:
    """Lines end with a line feed and nothing else: what other programs take for one must be allowed by the pattern."""
    if not text:
        return
    lines = text.split("\n")
    if lines.pop():
        raise RefusedError(f"line {len(lines) + 1} has no end")
    for number, line in enumerate(lines, 1):
        if not pattern.matches(line, deadline):
            raise RefusedError(f"line {number} does not match the pattern")
