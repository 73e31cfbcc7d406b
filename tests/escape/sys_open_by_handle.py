"""Root with the capability cannot open a file by its handle, past every path (the Docker escape of 2014)."""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING

from tests.probes.inside import see, syscall

if TYPE_CHECKING:
    from tests.escape.outside import Outside

WHO = ("root",)
SANDRUN = ("--capability", "dac_read_search")
AT_FDCWD = -100


def setup(out: Outside) -> None:
    path = out.secret()
    handle = ctypes.create_string_buffer(8 + 128)
    ctypes.memmove(handle, (128).to_bytes(4, "little"), 4)
    syscall("name_to_handle_at", AT_FDCWD, os.fsencode(path), handle, ctypes.create_string_buffer(4), 0)
    out.arguments += [handle.raw.hex()]


def attempt(handle: str) -> None:
    mount = os.open(".", os.O_RDONLY)
    see(os.read(syscall("open_by_handle_at", mount, bytes.fromhex(handle), os.O_RDONLY), 100))
