"""A file that the caller left open above descriptor 2 is closed to the command."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.probes.inside import see

if TYPE_CHECKING:
    from tests.escape.outside import Outside

BARE = True
REFUSALS = ("EBADF",)


def setup(out: Outside) -> None:
    fd = out.keep(out.secret().open()).fileno()
    out.inherit(fd)
    out.arguments += [fd]


def attempt(fd: str) -> None:
    see(os.pread(int(fd), 100, 0))
