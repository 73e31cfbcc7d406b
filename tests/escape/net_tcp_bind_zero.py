"""A grant to bind one TCP port does not let the kernel choose another (port 0)."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = ("--bind", "tcp:{other}")


def setup(out: Outside) -> None:
    out.values["other"] = out.listen().getsockname()[1]


def attempt() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
