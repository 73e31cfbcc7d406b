"""A grant of the whole network is none of unix sockets."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = ("--connect", "*", "--bind", "*")
REFUSALS = ("EAFNOSUPPORT",)


def setup(out: Outside) -> None:
    path = out.work / "socket"
    out.kept = out.keep(socket.socket(socket.AF_UNIX))
    out.kept.bind(str(path))
    out.kept.listen()
    out.who.own(path)


def attempt() -> None:
    socket.socket(socket.AF_UNIX).connect("socket")


def unharmed(out: Outside) -> bool:
    from tests.escape.outside import is_quiet

    return is_quiet(out.kept)
