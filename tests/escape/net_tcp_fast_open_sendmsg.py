"""With one TCP port granted, sendmsg(2) with MSG_FASTOPEN reaches no other."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = ("--connect", "tcp:{other}")
REFUSALS = ("ENOTSUP", "EOPNOTSUPP")


def setup(out: Outside) -> None:
    out.kept = out.listen()
    out.arguments += [out.kept.getsockname()[1]]
    out.values["other"] = out.listen().getsockname()[1]


def attempt(port: str) -> None:
    with socket.socket() as client:
        client.sendmsg([b"GET /"], [], socket.MSG_FASTOPEN, ("127.0.0.1", int(port)))


def unharmed(out: Outside) -> bool:
    from tests.escape.outside import is_quiet

    return is_quiet(out.kept)
