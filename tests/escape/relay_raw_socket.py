"""Root in a sandbox with a relay cannot make packet and raw sockets."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside

WHO = ("root",)
SANDRUN = ("--connect", "allowed.test:80")
REFUSALS = ("EAFNOSUPPORT", "EPROTONOSUPPORT")


def needs() -> None:
    from tests.integration import internet

    internet.need_internet()


def setup(out: Outside) -> None:
    from tests.integration import internet

    internet.around(out)


def attempt() -> None:
    for family, protocol in ((socket.AF_PACKET, 0), (socket.AF_INET, socket.IPPROTO_ICMP)):
        try:
            socket.socket(family, socket.SOCK_RAW, protocol).close()
        except OSError:
            if family == socket.AF_PACKET:
                continue
            raise
        return
