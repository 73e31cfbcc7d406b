"""The ports that lead to granted hosts cannot be taken over by a socket of the command's."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = ("--connect", "allowed.test:8080", "--bind", "*")
REFUSALS = ("EADDRINUSE",)
ADDRESSES = ("127.64.1.1", "0.0.0.0", "127.0.0.1", "::", "::1", "::ffff:127.64.1.1")


def needs() -> None:
    from tests.integration import internet

    internet.need_internet()


def setup(out: Outside) -> None:
    from tests.integration import internet

    internet.around(out)


def attempt() -> None:
    for at, address in enumerate(ADDRESSES):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family) as server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            try:
                server.bind((address, 8080))
                server.listen()
            except OSError:
                if at < len(ADDRESSES) - 1:
                    continue
                raise
        return
