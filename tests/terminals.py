"""What a program shows on a terminal of its own."""

from __future__ import annotations

import errno
import os
import select

from tests.support import PATIENCE


def shown(master: int, seconds: float = 60) -> str:
    """All that a terminal got until nobody had it open any more: read it here, by its master, which is then closed.

    One read would get any part of that: what is written comes through in pieces, a moment later, by a worker of the
    kernel. No more is waited for than `seconds` from one piece to the next.
    """
    got = bytearray()
    try:
        while part := _piece(master, seconds * PATIENCE, got):
            got += part
    finally:
        os.close(master)
    return got.decode()


def _piece(master: int, seconds: float, got: bytearray) -> bytes:
    """The next piece, b"" at the end."""
    ready, _, _ = select.select([master], [], [], seconds)
    assert ready, f"somebody has the terminal open and says nothing more; until then: {bytes(got)!r}"
    try:
        return os.read(master, 1 << 16)
    except OSError as error:
        if error.errno != errno.EIO:  # what Linux says at the end
            raise
        return b""
