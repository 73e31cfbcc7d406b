"""A process whose first thread has ended, so that it looks like a zombie, does not outlive the command."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

from tests.probes.inside import syscall

if TYPE_CHECKING:
    from tests.escape.outside import Outside

STATUSES = (0,)


def attempt() -> None:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        threading.Thread(target=go_on, args=(writer,)).start()
        syscall("exit", 0)
    os.close(writer)
    os.read(reader, 1)
    with open("pid", "w", encoding="ascii") as file:
        file.write(str(pid))


def go_on(writer: int) -> None:
    while True:
        with open("/proc/self/stat", encoding="ascii") as file:
            if file.read().rpartition(") ")[2][0] == "Z":
                break
    os.close(writer)
    time.sleep(60)


def unharmed(out: Outside) -> bool:
    return out.none_alive()
