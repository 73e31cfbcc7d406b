"""A device that is not granted cannot be opened with access mode 3, which asks for no access but serves ioctl(2)."""

from __future__ import annotations

import fcntl
import os
import struct

SANDRUN = ("-p", "none", "-x", "@system", "-w", "{work}")


def attempt() -> None:
    device = os.open("/dev/ptmx", os.O_ACCMODE | os.O_NOCTTY)
    fcntl.ioctl(device, 0x80045430, struct.pack("I", 0))  # TIOCGPTN: which terminal it is
