"""A datagram pair of socketpair(2), which needs no socket(2), sends nothing to the path of another socket."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside


BARE = True


def setup(out: Outside) -> None:
    path = out.directory(out.box / "outside") / "socket"
    out.kept = out.keep(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
    out.kept.bind(str(path))
    out.who.own(path)
    out.arguments += [path]


def attempt(path: str) -> None:
    ours, _ = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    ours.sendto(b"secret", path)


def unharmed(out: Outside) -> bool:
    from tests.escape.outside import is_quiet

    return is_quiet(out.kept)
