"""A grant of one TCP port opens no other."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = ("--connect", "tcp:{other}")


def setup(out: Outside) -> None:
    out.kept = out.listen()
    out.arguments += [out.kept.getsockname()[1]]
    out.values["other"] = out.listen().getsockname()[1]


def attempt(port: str) -> None:
    socket.create_connection(("127.0.0.1", int(port)), 30)


def unharmed(out: Outside) -> bool:
    from tests.escape.outside import is_quiet

    return is_quiet(out.kept)
