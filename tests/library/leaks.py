"""What a launch from this process may leave in it: nothing."""

from __future__ import annotations

import contextlib
import gc
import os
import threading
import time
from typing import TYPE_CHECKING

from tests.support import become_subreaper, descendants, kill_all, left_since, reap_orphans

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def nothing_left() -> Iterator[None]:
    """No process, descriptor or thread of what happens within outlives it."""
    become_subreaper()
    gc.collect()
    before, fds, threads = descendants(), sorted(os.listdir("/proc/self/fd")), threading.active_count()
    yield
    left = left_since(before)
    kill_all(left)
    reap_orphans()
    assert not left, f"processes left behind: {left}"
    gc.collect()
    end = time.monotonic() + 60
    while threading.active_count() > threads and time.monotonic() < end:
        time.sleep(0.01)  # asyncio waits for a child in a thread, which ends a moment after it
    assert threading.active_count() <= threads, threading.enumerate()
    assert sorted(os.listdir("/proc/self/fd")) == fds
