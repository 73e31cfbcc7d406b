"""TIOCLINUX, which pastes on a console as if typed, is refused before the terminal sees it."""

from __future__ import annotations

import errno
import fcntl
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside

TIOCLINUX = 0x541C


def setup(out: Outside) -> None:
    out.terminal()


def attempt() -> None:
    try:
        fcntl.ioctl(0, TIOCLINUX, b"\x06")
    except OSError as error:
        if error.errno != errno.ENOTTY:
            raise
