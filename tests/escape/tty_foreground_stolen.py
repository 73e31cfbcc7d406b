"""With --tty new-session the command cannot put another process group into the terminal's foreground."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = ("--tty", "new-session")
REFUSALS = ("ENOTTY",)


def setup(out: Outside) -> None:
    out.terminal()


def attempt() -> None:
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    os.tcsetpgrp(0, os.getpgrp())
