"""With the terminal shared, no input can be pushed into it by TIOCSTI for the caller's shell to run."""

from __future__ import annotations

import errno
import fcntl
import termios
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside


BARE = True


def setup(out: Outside) -> None:
    out.terminal()


def attempt() -> None:
    try:
        fcntl.ioctl(0, termios.TIOCSTI, b"!")
    except OSError as error:
        # Newer kernels answer EIO by themselves (dev.tty.legacy_tiocsti), but only when they are asked.
        if error.errno != errno.EIO:
            raise
