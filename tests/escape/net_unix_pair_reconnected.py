"""A datagram pair cannot be connected to another socket, nor any pair that can be had."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside

REFUSALS = ("EISCONN",)


def setup(out: Outside) -> None:
    path = out.directory(out.box / "outside") / "socket"
    out.kept = out.keep(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
    out.kept.bind(str(path))
    out.who.own(path)
    out.arguments += [path]


def attempt(path: str) -> None:
    try:
        ours, _ = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    except PermissionError:
        ours, _ = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    ours.connect(path)
    ours.send(b"secret")


def unharmed(out: Outside) -> bool:
    from tests.escape.outside import is_quiet

    return is_quiet(out.kept)
