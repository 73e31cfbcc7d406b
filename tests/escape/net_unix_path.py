"""Without a grant no unix socket outside can be connected to by its path (docker.sock, ssh-agent, D-Bus)."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside


BARE = True
REFUSALS = ("EAFNOSUPPORT",)


def setup(out: Outside) -> None:
    path = out.directory(out.box / "outside") / "socket"
    out.kept = out.keep(socket.socket(socket.AF_UNIX))
    out.kept.bind(str(path))
    out.kept.listen()
    out.who.own(path)
    out.arguments += [path]


def attempt(path: str) -> None:
    socket.socket(socket.AF_UNIX).connect(path)


def unharmed(out: Outside) -> bool:
    from tests.escape.outside import is_quiet

    return is_quiet(out.kept)
