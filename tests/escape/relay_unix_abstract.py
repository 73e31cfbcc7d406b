"""A host granted by name gives no way to abstract unix sockets outside."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = ("--connect", "allowed.test:80")
REFUSALS = ("EAFNOSUPPORT", "ECONNREFUSED")


def needs() -> None:
    from tests.integration import internet

    internet.need_internet()


def setup(out: Outside) -> None:
    from tests.integration import internet

    net = internet.around(out)
    server = out.keep(internet.within(net.machine, lambda: socket.socket(socket.AF_UNIX)))
    server.bind(f"\0{out.box}")
    server.listen()
    out.values["server"] = server
    out.arguments += [out.box]


def attempt(name: str) -> None:
    socket.socket(socket.AF_UNIX).connect("\0" + name)


def unharmed(out: Outside) -> bool:
    from tests.escape.outside import is_quiet

    return is_quiet(out.values["server"])  # type: ignore[arg-type]
