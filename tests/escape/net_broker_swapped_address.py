"""Where no namespace can be had, an address that changes while it is judged is connected to as it was judged."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING

from tests.probes.inside import WITHOUT_NAMESPACES

if TYPE_CHECKING:
    from tests.escape.outside import Outside

PREFIX = WITHOUT_NAMESPACES
SANDRUN = ("-p", "none", "-x", "@all", "-w", "{work}", "--connect", "127.0.0.1:{other}")


def needs() -> None:
    from tests.support import need_landlock, need_userns

    need_userns()
    need_landlock(4)


def setup(out: Outside) -> None:
    out.kept = out.listen()
    server = out.listen()
    for one in (out.kept, server):
        one.listen(512)  # room for every attempt, since nobody accepts any
    granted = server.getsockname()[1]
    out.values["other"] = granted
    out.arguments += [out.kept.getsockname()[1], granted]


def attempt(port: str, other: str) -> None:
    """Connect again and again, while another thread writes one port and the other into the address."""
    good, bad = (struct.pack("=H", 2) + struct.pack(">H4s8x", int(number), b"\x7f\0\0\1") for number in (other, port))
    address = ctypes.create_string_buffer(good, 16)
    ended = threading.Event()

    def swap() -> None:
        while not ended.is_set():
            ctypes.memmove(address, bad, 16)
            ctypes.memmove(address, good, 16)

    thread = threading.Thread(target=swap)
    thread.start()
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        for _ in range(500):
            time.sleep(0.0002)  # else this thread may run alone for as long as all attempts take
            with socket.socket() as client:
                if not libc.connect(client.fileno(), address, 16) and client.getpeername()[1] == int(port):
                    return
    finally:
        ended.set()
        thread.join()
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def unharmed(out: Outside) -> bool:
    from tests.escape.outside import is_quiet

    return is_quiet(out.kept)
