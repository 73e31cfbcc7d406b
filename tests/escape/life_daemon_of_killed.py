"""A daemon does not outlive a supervisor that was killed, where the command has a pid namespace."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import subprocess

    from tests.escape.outside import Outside

STATUSES = (137,)
CONTROL_STATUS = 137


def needs() -> None:
    from tests import support

    support.need_userns()


def attempt() -> None:
    command = os.getpid()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.closerange(0, 100)
            with open("pid.new", "w", encoding="ascii") as file:
                file.write(f"{command} {os.getppid()} {os.getpid()}")
            os.rename("pid.new", "pid")
        time.sleep(60)
    time.sleep(60)


def watch(out: Outside, process: subprocess.Popen[Any]) -> None:
    from tests.escape.outside import wait_until

    wait_until((out.work / "pid").exists, 50)
    process.send_signal(signal.SIGKILL)


def unharmed(out: Outside) -> bool:
    from tests.escape.outside import wait_until

    if out.sandboxed:
        wait_until(lambda: not out.alive())
    return out.none_alive()
