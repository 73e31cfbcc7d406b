"""A command that ignores TERM ends when its time is over, with all that it started."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = ("--timeout", "2s", "--grace", "100ms")
STATUSES = (124,)


def attempt() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if os.fork() == 0:
        os.setsid()
        with open("pid", "w", encoding="ascii") as file:
            file.write(str(os.getpid()))
        time.sleep(60)
        os._exit(0)
    time.sleep(3)


def unharmed(out: Outside) -> bool:
    return out.none_alive()
