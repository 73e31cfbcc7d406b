"""Where no namespace can be had, a grant of one address and port reaches no other."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from tests.probes.inside import WITHOUT_NAMESPACES

if TYPE_CHECKING:
    from tests.escape.outside import Outside

PREFIX = WITHOUT_NAMESPACES
SANDRUN = ("-p", "none", "-x", "@all", "-w", "{work}", "--connect", "127.0.0.1:{other}")


def needs() -> None:
    from tests.support import need_landlock, need_userns

    need_userns()
    need_landlock(4)


def setup(out: Outside) -> None:
    out.kept = out.listen()
    granted = out.listen().getsockname()[1]
    out.values["other"] = granted
    out.arguments += [out.kept.getsockname()[1], granted]


def attempt(port: str, other: str) -> None:
    socket.create_connection(("127.0.0.1", int(port)), 30)


def unharmed(out: Outside) -> bool:
    from tests.escape.outside import is_quiet

    return is_quiet(out.kept)
