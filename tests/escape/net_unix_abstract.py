"""Without a grant no abstract unix socket can be connected to."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside


BARE = True
REFUSALS = ("EAFNOSUPPORT",)


def setup(out: Outside) -> None:
    out.kept = out.keep(socket.socket(socket.AF_UNIX))
    out.kept.bind(f"\0{out.box}")
    out.kept.listen()
    out.arguments += [out.box]


def attempt(name: str) -> None:
    socket.socket(socket.AF_UNIX).connect("\0" + name)


def unharmed(out: Outside) -> bool:
    from tests.escape.outside import is_quiet

    return is_quiet(out.kept)
