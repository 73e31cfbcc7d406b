"""A command that ignores TERM ends when its time is over, with all that it started."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import subprocess

    from tests.escape.outside import Outside

SANDRUN = ("--timeout", "5s", "--grace", "100ms")
STATUSES = (124,)


def attempt() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if os.fork() == 0:
        os.setsid()
        with open("pid", "w", encoding="ascii") as file:
            file.write(str(os.getpid()))
        time.sleep(60)
        os._exit(0)
    while not os.path.exists("enough"):
        time.sleep(0.05)


def watch(out: Outside, process: subprocess.Popen[Any]) -> None:
    from tests.escape.outside import wait_until

    if not out.sandboxed:
        wait_until((out.work / "pid").exists, 50)
        (out.work / "enough").touch()


def unharmed(out: Outside) -> bool:
    return out.none_alive()
