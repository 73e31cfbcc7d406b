"""A grant to bind one TCP port does not let another be bound."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = ("--bind", "tcp:{other}")


def setup(out: Outside) -> None:
    out.values["other"] = out.listen().getsockname()[1]
    # Bound, it is nobody else's; who reuses addresses may bind it too, as long as nobody listens.
    free = out.keep(socket.socket())
    free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    free.bind(("127.0.0.1", 0))
    out.arguments += [free.getsockname()[1]]


def attempt(port: str) -> None:
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", int(port)))
