"""System V shared memory of another process of the same user is not there (sysvipc(7))."""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING

from tests.probes.inside import libc, see

if TYPE_CHECKING:
    from tests.escape.outside import Outside

IPC_CREAT, IPC_RMID = 0o1000, 0
libc.shmat.restype = ctypes.c_void_p


def setup(out: Outside) -> None:
    from tests.probes.inside import SECRET

    key = 0x5B000000 + os.getpid()
    segment = libc.shmget(key, 4096, IPC_CREAT | 0o666)
    out.exit.callback(libc.shmctl, segment, IPC_RMID, None)
    ctypes.memmove(libc.shmat(segment, None, 0), SECRET.encode(), len(SECRET))
    out.arguments += [key]


def attempt(key: str) -> None:
    segment = libc.shmget(int(key), 0, 0)
    if segment < 0:
        raise OSError(ctypes.get_errno(), "shmget")
    see(ctypes.string_at(libc.shmat(segment, None, 0)))
