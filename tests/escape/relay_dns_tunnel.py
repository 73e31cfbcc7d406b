"""No lookup of a name that is not granted gets out, neither below a granted one nor to another name server."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = ("--connect", "allowed.test:80")
STATUSES = (0,)
"""It cannot tell by itself whether anybody heard it."""
NAMES = ("secret.other.test", "secret.allowed.test", "allowed.test.secret.test")
SERVERS = ("127.0.0.1", "93.184.216.53")


def needs() -> None:
    from tests.integration import internet

    internet.need_internet()


def setup(out: Outside) -> None:
    from tests.integration import internet

    internet.around(out)


def attempt() -> None:
    for name in NAMES:
        with contextlib.suppress(socket.gaierror):
            socket.getaddrinfo(name, 80)
        for server in SERVERS:
            for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                with contextlib.suppress(OSError):
                    ask(name, server, kind)


def ask(name: str, server: str, kind: int) -> None:
    labels = b"".join(bytes((len(label),)) + label.encode() for label in name.split("."))
    query = bytes.fromhex("4242 0100 0001 0000 0000 0000") + labels + bytes.fromhex("00 0001 0001")
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.settimeout(2)
        sock.connect((server, 53))
        sock.sendall(len(query).to_bytes(2, "big") + query if kind == socket.SOCK_STREAM else query)
        sock.recv(1000)


def unharmed(out: Outside) -> bool:
    return not any("secret" in name for name in out.kept.asked)
