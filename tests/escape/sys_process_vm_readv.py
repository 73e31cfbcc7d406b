"""The supervisor's memory cannot be read by process_vm_readv(2)."""

from __future__ import annotations

import ctypes
import errno

from tests.probes.inside import supervisor, syscall

BARE = True


def attempt() -> None:
    buffer = ctypes.create_string_buffer(8)
    local = bytes((ctypes.c_size_t * 2)(ctypes.addressof(buffer), 1))
    nowhere = bytes((ctypes.c_size_t * 2)(0, 1))
    try:
        syscall("process_vm_readv", supervisor(), local, 1, nowhere, 1, 0)
    except OSError as error:
        # Who may read gets EFAULT for an address that is in no process.
        if error.errno != errno.EFAULT:
            raise
