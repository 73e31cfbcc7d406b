"""The processes that a confined body leaves running."""

from __future__ import annotations

import contextlib
import os
import signal
import time

SETTLE = 5.0
"""Seconds for them to die."""


def children() -> set[int]:
    """The children of this process (proc(5))."""
    found = set()
    for name in os.listdir("/proc"):
        if name.isdecimal():
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
                if int(file.read().rpartition(b")")[2].split()[1]) == os.getpid():
                    found.add(int(name))
    return found


def _filters(name: str | int) -> int:
    """How many seccomp filters a process has (proc(5)); no process loses one. -1 if that is not told, before Linux 5.9."""
    with contextlib.suppress(OSError), open(f"/proc/{name}/status", "rb") as file:
        for line in file:
            if line.startswith(b"Seccomp_filters:"):
                return int(line.split()[1])
    return -1


def end_all_but(before: set[int], *, is_filtered: bool) -> int:
    """End what a body left: killing one makes its children ours, until none is left. The number of those that live on.

    Threads of this process may start children meanwhile, which have no filter that we have not got as well.
    """
    least = _filters("self") + 1 if is_filtered else -1
    end = time.monotonic() + SETTLE
    while left := [pid for pid in children() - before if _filters(pid) >= least or not least]:
        if time.monotonic() > end:
            return len(left)
        for pid in left:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
    return 0
