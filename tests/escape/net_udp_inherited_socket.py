"""A UDP socket of the caller's on standard input sends nothing where no UDP is granted: sandrun refuses it."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = ("--connect", "tcp:80")
STATUSES = (125,)
SAYS = "is a network socket"


def setup(out: Outside) -> None:
    out.kept = out.listen(socket.SOCK_DGRAM)
    out.arguments += [out.kept.getsockname()[1]]
    out.options["stdin"] = out.keep(socket.socket(type=socket.SOCK_DGRAM)).fileno()


def attempt(port: str) -> None:
    with socket.socket(fileno=0) as stdin:
        stdin.sendto(b"secret", ("127.0.0.1", int(port)))


def unharmed(out: Outside) -> bool:
    from tests.escape.outside import is_quiet

    return is_quiet(out.kept)
