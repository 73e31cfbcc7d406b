"""Without a grant no TCP connection can be made over IPv6."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside


REFUSALS = ("EAFNOSUPPORT",)


def setup(out: Outside) -> None:
    from tests import support

    support.need(has_ipv6(), "IPv6 on the loopback interface")
    out.kept = out.listen(family=socket.AF_INET6)
    out.arguments += [out.kept.getsockname()[1]]


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def attempt(port: str) -> None:
    socket.create_connection(("::1", int(port)), 30)


def unharmed(out: Outside) -> bool:
    from tests.escape.outside import is_quiet

    return is_quiet(out.kept)
