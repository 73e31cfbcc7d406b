"""Processes of a command that made itself the reaper of its orphans do not outlive it either."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from tests.probes.inside import libc

if TYPE_CHECKING:
    from tests.escape.outside import Outside

STATUSES = (0,)
PR_SET_CHILD_SUBREAPER = 36


def attempt() -> None:
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    reader, writer = os.pipe()
    for _ in range(20):
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                with open("pid", "a", encoding="ascii") as file:
                    file.write(f"{os.getpid()} ")
                os.closerange(3, 100)
                time.sleep(60)
            os._exit(0)
    os.close(writer)
    os.read(reader, 1)


def unharmed(out: Outside) -> bool:
    return out.none_alive()
