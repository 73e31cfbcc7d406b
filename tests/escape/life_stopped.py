"""A stopped process is not forgotten when the command ends."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside

STATUSES = (0,)


def attempt() -> None:
    pid = os.fork()
    if pid == 0:
        os.setsid()
        os.kill(os.getpid(), signal.SIGSTOP)
        os._exit(0)
    os.waitpid(pid, os.WUNTRACED)
    with open("pid", "w", encoding="ascii") as file:
        file.write(str(pid))


def unharmed(out: Outside) -> bool:
    return out.none_alive()
