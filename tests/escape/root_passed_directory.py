"""A directory outside that is passed on purpose is no way out of another root, whatever is granted in it."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from tests.probes.inside import see

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = (
    *("-p", "{profile}", "--root", "{root}", "--pass-fd", "{fd}"),
    *("-r", "@all", "-w", "@all", "-x", "@all"),
)


def setup(out: Outside) -> None:
    out.root()
    fd = os.open(out.secret().parent, os.O_RDONLY)
    out.exit.callback(os.close, fd)
    out.inherit(fd)
    out.arguments += [fd]
    out.values["fd"] = fd


def attempt(fd: str) -> None:
    os.fchdir(int(fd))
    with suppress(OSError):
        see(os.read(os.open("../outside/secret", os.O_RDONLY), 100))
        return
    see(os.read(os.open("secret", os.O_RDONLY, dir_fd=int(fd)), 100))
