"""A process that forks and exits all the time, so that each kill comes too late, does not outlive the command."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside

STATUSES = (0,)
SECONDS = 4.0


def attempt() -> None:
    end = time.monotonic() + SECONDS
    if os.fork() == 0:
        os.setsid()
        while time.monotonic() < end:
            if os.fork():
                os._exit(0)
            with open("beat", "ab", 0) as file:
                file.write(b".")
        os._exit(0)
    while not os.path.exists("beat"):
        time.sleep(0.01)


def unharmed(out: Outside) -> bool:
    beat = out.work / "beat"
    before = beat.stat().st_size
    time.sleep(0.2)
    after = beat.stat().st_size
    if after != before:
        time.sleep(SECONDS)
    return after == before
