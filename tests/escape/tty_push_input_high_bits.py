"""TIOCSTI with a bit above the 32 that the kernel compares is refused like TIOCSTI."""

from __future__ import annotations

import errno
import termios
from typing import TYPE_CHECKING

from tests.probes.inside import syscall

if TYPE_CHECKING:
    from tests.escape.outside import Outside


BARE = True


def setup(out: Outside) -> None:
    out.terminal()


def attempt() -> None:
    try:
        syscall("ioctl", 0, termios.TIOCSTI | 1 << 32, b"!")
    except OSError as error:
        if error.errno != errno.EIO:
            raise
