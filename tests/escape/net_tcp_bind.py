"""Without a grant no TCP port can be bound."""

from __future__ import annotations

import socket

REFUSALS = ("EAFNOSUPPORT",)


def attempt() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
