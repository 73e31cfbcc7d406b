"""No io_uring can be made: what is asked through one passes no seccomp filter."""

from __future__ import annotations

import ctypes

from tests.probes.inside import syscall

BARE = True


def needs() -> None:
    from pathlib import Path

    from tests import support

    switch = Path("/proc/sys/kernel/io_uring_disabled")
    support.need(not switch.exists() or switch.read_text().strip() == "0", "io_uring for everybody")


def attempt() -> None:
    syscall("io_uring_setup", 1, ctypes.create_string_buffer(120))
