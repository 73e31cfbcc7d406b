"""With TCP connections granted, listen(2) on a socket that was never bound still opens no port."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = ("--connect", "tcp:{other}")


def setup(out: Outside) -> None:
    out.values["other"] = out.listen().getsockname()[1]


def attempt() -> None:
    with socket.socket() as server:
        server.listen()
        server.getsockname()
