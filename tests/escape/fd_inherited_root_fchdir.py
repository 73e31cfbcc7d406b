"""The command cannot change to a directory that the caller left open, and read on from there."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.probes.inside import read

if TYPE_CHECKING:
    from tests.escape.outside import Outside

REFUSALS = ("EBADF",)


def setup(out: Outside) -> None:
    out.secret()
    fd = os.open("/", os.O_PATH)
    out.exit.callback(os.close, fd)
    out.inherit(fd)
    out.arguments += [fd, out.box]


def attempt(fd: str, box: str) -> None:
    os.fchdir(int(fd))
    read(f".{box}/outside/secret")
