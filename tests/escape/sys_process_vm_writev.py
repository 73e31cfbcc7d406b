"""The memory of another process of the same user cannot be written by process_vm_writev(2)."""

from __future__ import annotations

import ctypes
import errno
from typing import TYPE_CHECKING

from tests.probes.inside import syscall

if TYPE_CHECKING:
    from tests.escape.outside import Outside


def setup(out: Outside) -> None:
    out.arguments += [out.victim().pid]


def attempt(pid: str) -> None:
    buffer = ctypes.create_string_buffer(8)
    local = bytes((ctypes.c_size_t * 2)(ctypes.addressof(buffer), 1))
    nowhere = bytes((ctypes.c_size_t * 2)(0, 1))
    try:
        syscall("process_vm_writev", int(pid), local, 1, nowhere, 1, 0)
    except OSError as error:
        # Who may write gets EFAULT for an address that is in no process.
        if error.errno != errno.EFAULT:
            raise
