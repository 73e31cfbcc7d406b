"""The command does not outlive a supervisor that was killed."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import subprocess

    from tests.escape.outside import Outside

# The default profile's private temporary directory would have nobody left to remove it.
SANDRUN = ("-p", "none", "-x", "@system", "-w", "{work}")
STATUSES = (137,)
CONTROL_STATUS = 137


def attempt() -> None:
    with open("pid.new", "w", encoding="ascii") as file:
        file.write(str(os.getpid()))
    os.rename("pid.new", "pid")
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
