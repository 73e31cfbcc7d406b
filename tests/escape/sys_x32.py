"""A syscall by its x32 number, which slips past filters made for x86_64, kills the command."""

from __future__ import annotations

import ctypes
import errno

from tests.probes.inside import libc

BARE = True
MACHINE = "x86_64"
STATUSES = (159,)
X32_BIT, MOUNT = 0x40000000, 165


def attempt() -> None:
    libc.syscall(ctypes.c_long(X32_BIT | MOUNT), None, None, None, ctypes.c_long(0), None)
    # Where the kernel has no x32 it says ENOSYS itself, but it was asked.
    if ctypes.get_errno() not in (errno.EFAULT, errno.ENOSYS):
        raise OSError(ctypes.get_errno(), "mount by x32")
