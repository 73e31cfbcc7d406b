"""A unix socket of datagrams on standard input reaches no server where none is granted: sandrun refuses it."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside

STATUSES = (125,)
SAYS = "is a unix socket"


def setup(out: Outside) -> None:
    path = out.directory(out.box / "outside") / "socket"
    out.kept = out.keep(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
    out.kept.bind(str(path))
    out.who.own(path)
    out.arguments += [path]
    out.options["stdin"] = out.keep(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)).fileno()


def attempt(path: str) -> None:
    with socket.socket(fileno=0) as stdin:
        stdin.sendto(b"secret", path)


def unharmed(out: Outside) -> bool:
    from tests.escape.outside import is_quiet

    return is_quiet(out.kept)
