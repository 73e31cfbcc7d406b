"""The kernel does not send a signal for the command either: F_SETOWN and O_ASYNC reach no other process."""

from __future__ import annotations

import fcntl
import os
import signal
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside

STATUSES = (0, 3)


def needs() -> None:
    from tests import support

    support.need_landlock(6)


def setup(out: Outside) -> None:
    out.kept = out.victim()
    out.arguments += [out.kept.pid]


def attempt(pid: str) -> None:
    reader, writer = os.pipe()
    fcntl.fcntl(reader, fcntl.F_SETOWN, int(pid))
    fcntl.fcntl(reader, fcntl.F_SETSIG, signal.SIGTERM)
    fcntl.fcntl(reader, fcntl.F_SETFL, os.O_ASYNC)
    os.write(writer, b"x")
    time.sleep(0.1)


def unharmed(out: Outside) -> bool:
    from tests.escape.outside import wait_until

    return not wait_until(lambda: out.kept.poll() is not None, 0.2)
