"""With one TCP port granted, an IPv4 address written as IPv6 (::ffff:127.0.0.1) reaches no other."""

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


def needs() -> None:
    from tests import support

    support.need(socket.has_dualstack_ipv6(), "sockets for both IPv4 and IPv6")


def attempt(port: str) -> None:
    with socket.socket(socket.AF_INET6) as client:
        client.connect(("::ffff:127.0.0.1", int(port)))


def unharmed(out: Outside) -> bool:
    from tests.escape.outside import is_quiet

    return is_quiet(out.kept)
