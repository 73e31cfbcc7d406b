"""A connected socket that the caller left open is closed to the command."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside

REFUSALS = ("EBADF",)


def setup(out: Outside) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    out.keep(theirs)
    out.kept = out.keep(ours)
    out.inherit(theirs.fileno())
    out.arguments += [theirs.fileno()]


def attempt(fd: str) -> None:
    os.write(int(fd), b"secret")


def unharmed(out: Outside) -> bool:
    from tests.escape.outside import is_quiet

    return is_quiet(out.kept)
