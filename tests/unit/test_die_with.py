"""A process that ends with its parent, also if that has ended before it could say so."""

from __future__ import annotations

import os
import signal

import pytest

from sandrun import libc
from tests.support import in_child


def test_it_is_killed_with_its_parent() -> None:
    """By SIGKILL, which the kernel sends; what it holds open is closed then."""

    def ended() -> bytes:
        reader, writer = os.pipe()
        go, mark = os.pipe()
        parent = os.fork()
        if not parent:
            mine = os.getpid()
            if not os.fork():
                libc.die_with(mine)
                os.write(mark, b".")
                signal.pause()
            os.read(go, 1)
            os._exit(0)
        os.close(writer)
        os.waitpid(parent, 0)
        return os.read(reader, 1)

    assert in_child(ended) == b""


def test_a_parent_that_is_gone() -> None:
    """Nobody would end it, which it is told."""
    with pytest.raises(ProcessLookupError):
        in_child(lambda: libc.die_with(os.getppid() + 1))
    in_child(lambda: libc.die_with(os.getppid()))
