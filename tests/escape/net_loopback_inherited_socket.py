"""A socket of the caller's on standard input is no way out of a loopback of the command's own."""

from __future__ import annotations

import ctypes
import socket
from typing import TYPE_CHECKING

from tests.probes.inside import see

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = ("--loopback",)
STATUSES = (125,)
SAYS = "is a network socket"


def needs() -> None:
    from tests.integration import internet

    internet.need_internet()


def setup(out: Outside) -> None:
    from tests.integration import internet

    net = internet.around(out)
    net.tell(internet.ALLOWED, internet.OTHER)
    stdin = out.keep(internet.within(net.machine, socket.socket))
    stdin.connect((internet.ALLOWED, 80))
    out.options["stdin"] = stdin.fileno()


def attempt() -> None:
    ctypes.CDLL(None).connect(0, bytes(16), 16)  # AF_UNSPEC
    with socket.socket(fileno=0) as stdin:
        stdin.connect(("93.184.216.35", 80))
        see(stdin.recv(100))


def unharmed(out: Outside) -> bool:
    return "93.184.216.35:80" not in out.kept.met
