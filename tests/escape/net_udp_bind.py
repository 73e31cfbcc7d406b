"""Without a grant no UDP port can be bound."""

from __future__ import annotations

import socket

REFUSALS = ("EAFNOSUPPORT",)


def attempt() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
