"""A process that ignores every signal that can be ignored does not outlive the command."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside

STATUSES = (0,)


def attempt() -> None:
    reader, writer = os.pipe()
    if os.fork() == 0:
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_IGN)
        with open("pid", "w", encoding="ascii") as file:
            file.write(str(os.getpid()))
        os.closerange(3, 100)
        time.sleep(60)
        os._exit(0)
    os.close(writer)
    os.read(reader, 1)


def unharmed(out: Outside) -> bool:
    return out.none_alive()
