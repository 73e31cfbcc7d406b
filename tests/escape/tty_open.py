"""The controlling terminal cannot be opened by /dev/tty unless it is granted."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = ("-p", "none", "-x", "@system")


def setup(out: Outside) -> None:
    out.terminal()


def attempt() -> None:
    os.close(os.open("/dev/tty", os.O_RDWR))
