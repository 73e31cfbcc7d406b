"""With one TCP port granted, Multipath TCP, which Landlock's ports do not cover, reaches no other."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = ("--connect", "tcp:{other}")
IPPROTO_MPTCP = 262


def setup(out: Outside) -> None:
    from tests import support

    try:
        out.kept = out.listen(protocol=IPPROTO_MPTCP)
    except OSError:
        support.need(False, "Multipath TCP")
    out.arguments += [out.kept.getsockname()[1]]
    out.values["other"] = out.listen().getsockname()[1]


def attempt(port: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP) as client:
        client.connect(("127.0.0.1", int(port)))


def unharmed(out: Outside) -> bool:
    from tests.escape.outside import is_quiet

    return is_quiet(out.kept)
