"""On a terminal the command shares its process group with its caller's pipeline, which it cannot signal."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside

_NEIGHBOUR = 'trap "echo hit >hit" USR1; "$@"'
PREFIX = ("sh", "-c", _NEIGHBOUR, "sh")
CONTROL_STATUS = 128 + signal.SIGUSR1
STATUSES = (0, 3)
"""Where Landlock scopes signals, the command gets its own, which is no error."""


def setup(out: Outside) -> None:
    out.terminal()


def attempt() -> None:
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    os.kill(0, signal.SIGUSR1)


def unharmed(out: Outside) -> bool:
    return not (out.work / "hit").exists()
