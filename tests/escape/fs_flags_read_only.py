"""The read-only profile does not let the flags of chattr(1) be set through a descriptor for reading."""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = ("-p", "read-only")
FS_IOC_GETFLAGS, FS_IOC_SETFLAGS, FS_NODUMP_FL = 0x80086601, 0x40086602, 0x40


def setup(out: Outside) -> None:
    from tests import support

    out.kept = out.file(out.work / "file")
    supported = False
    with contextlib.suppress(OSError), out.kept.open() as file:
        fcntl.ioctl(file, FS_IOC_GETFLAGS, bytearray(8))
        supported = True
    support.need(supported, "file flags on the file system of /tmp")


def attempt() -> None:
    fd = os.open("file", os.O_RDONLY)
    flags = bytearray(8)
    fcntl.ioctl(fd, FS_IOC_GETFLAGS, flags)
    flags[0] |= FS_NODUMP_FL
    fcntl.ioctl(fd, FS_IOC_SETFLAGS, flags)


def unharmed(out: Outside) -> bool:
    flags = bytearray(8)
    with out.kept.open() as file:
        fcntl.ioctl(file, FS_IOC_GETFLAGS, flags)
    return not flags[0] & FS_NODUMP_FL
