"""A directory that the caller left open is no starting point to open files from."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.probes.inside import see

if TYPE_CHECKING:
    from tests.escape.outside import Outside

REFUSALS = ("EBADF",)


def setup(out: Outside) -> None:
    fd = os.open(out.secret().parent, os.O_RDONLY)
    out.exit.callback(os.close, fd)
    out.inherit(fd)
    out.arguments += [fd]


def attempt(fd: str) -> None:
    see(os.read(os.open("secret", os.O_RDONLY, dir_fd=int(fd)), 100))
