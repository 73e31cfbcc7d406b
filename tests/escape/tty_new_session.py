"""With --tty new-session the command has no controlling terminal."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = ("--tty", "new-session")
REFUSALS = ("ENXIO",)


def setup(out: Outside) -> None:
    out.terminal()


def attempt() -> None:
    os.close(os.open("/dev/tty", os.O_RDWR))
