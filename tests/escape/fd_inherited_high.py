"""A descriptor with a high number, far above the others, is closed to the command too."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

from tests.probes.inside import see

if TYPE_CHECKING:
    from tests.escape.outside import Outside

REFUSALS = ("EBADF",)


def setup(out: Outside) -> None:
    fd = fcntl.fcntl(out.keep(out.secret().open()), fcntl.F_DUPFD_CLOEXEC, 1000)
    out.exit.callback(os.close, fd)
    out.inherit(fd)
    out.arguments += [fd]


def attempt(fd: str) -> None:
    see(os.pread(int(fd), 100, 0))
