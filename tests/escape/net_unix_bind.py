"""No unix socket can be bound outside the grants."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside


REFUSALS = ("EAFNOSUPPORT",)


def setup(out: Outside) -> None:
    out.kept = out.directory(out.box / "outside") / "new"
    out.arguments += [out.kept]


def attempt(path: str) -> None:
    socket.socket(socket.AF_UNIX).bind(path)


def unharmed(out: Outside) -> bool:
    return not out.kept.exists()
