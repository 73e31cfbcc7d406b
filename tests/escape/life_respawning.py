"""A process that forks and exits all the time, so that each kill comes too late, does not outlive the command."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside

STATUSES = (0,)
SECONDS = 30.0


def attempt() -> None:
    end = time.monotonic() + SECONDS
    if os.fork() == 0:
        os.setsid()
        while time.monotonic() < end and not os.path.exists("stop"):
            if os.fork():
                os._exit(0)
            with open("beat", "ab", 0) as file:
                file.write(b".")
        with open("stopped", "w", encoding="ascii"):
            os._exit(0)
    while not os.path.exists("beat"):
        time.sleep(0.01)


def unharmed(out: Outside) -> bool:
    from tests.escape.outside import wait_until

    beat = out.work / "beat"
    before = beat.stat().st_size
    alive = wait_until(lambda: beat.stat().st_size != before, 0.2)
    if alive:
        (out.work / "stop").touch()
        wait_until((out.work / "stopped").exists)
    return not alive
