"""A grant of the whole network brings no io_uring either, which would make sockets of every family."""

from __future__ import annotations

import ctypes

from tests.probes.inside import syscall

SANDRUN = ("--connect", "*")


def needs() -> None:
    from tests.escape import net_io_uring

    net_io_uring.needs()


def attempt() -> None:
    syscall("io_uring_setup", 1, ctypes.create_string_buffer(120))
