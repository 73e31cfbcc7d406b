"""Root with --tty new-session cannot take the caller's terminal for its own session."""

from __future__ import annotations

import fcntl
import os
import termios
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside

WHO = ("root",)
SANDRUN = ("--tty", "new-session")


def setup(out: Outside) -> None:
    out.terminal()


def attempt() -> None:
    if os.getsid(0) != os.getpid():
        if os.fork():
            os._exit(os.waitstatus_to_exitcode(os.wait()[1]))
        os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 1)
