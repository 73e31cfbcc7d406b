"""With one TCP port granted, TCP_FASTOPEN_CONNECT and a first write reach no other."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = ("--connect", "tcp:{other}")
TCP_FASTOPEN_CONNECT = 30


def setup(out: Outside) -> None:
    out.kept = out.listen()
    out.arguments += [out.kept.getsockname()[1]]
    out.values["other"] = out.listen().getsockname()[1]


def attempt(port: str) -> None:
    with socket.socket() as client:
        client.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1)
        client.connect(("127.0.0.1", int(port)))
        client.send(b"GET /")


def unharmed(out: Outside) -> bool:
    from tests.escape.outside import is_quiet

    return is_quiet(out.kept)
