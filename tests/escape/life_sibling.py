"""A process that clone(2) with CLONE_PARENT makes the supervisor's child, not the command's, does not outlive it."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

from tests.probes.inside import syscall

if TYPE_CHECKING:
    from tests.escape.outside import Outside

STATUSES = (0,)
CLONE_PARENT = 0x00008000


def attempt() -> None:
    reader, writer = os.pipe()
    if syscall("clone", CLONE_PARENT | signal.SIGCHLD, 0, 0, 0, 0) == 0:
        os.setsid()
        with open("pid", "w", encoding="ascii") as file:
            file.write(str(os.getpid()))
        os.closerange(3, 100)
        time.sleep(60)
        os._exit(0)
    os.close(writer)
    os.read(reader, 1)


def unharmed(out: Outside) -> bool:
    return out.none_alive()
