"""A command that stops the terminal's output does not leave it so, where all that write to it would wait for ever."""

from __future__ import annotations

import os
import termios
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside

STATUSES = (0,)


def setup(out: Outside) -> None:
    out.terminal()
    out.kept = out.options["terminal"]


def attempt() -> None:
    termios.tcflow(0, termios.TCOOFF)


def unharmed(out: Outside) -> bool:
    terminal = os.open(out.kept, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
    try:
        return os.write(terminal, b"x") == 1
    except BlockingIOError:
        return False
    finally:
        os.close(terminal)
