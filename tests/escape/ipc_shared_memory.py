"""System V shared memory of another process of the same user is not there (sysvipc(7))."""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING

from tests.probes.inside import libc, see

if TYPE_CHECKING:
    from tests.escape.outside import Outside

IPC_CREAT, IPC_EXCL, IPC_RMID = 0o1000, 0o2000, 0
libc.shmat.restype = ctypes.c_void_p


def setup(out: Outside) -> None:
    from tests.probes.inside import SECRET

    key = int.from_bytes(os.urandom(3)) + 1
    segment = libc.shmget(key, 4096, IPC_CREAT | IPC_EXCL | 0o666)
    if segment < 0:
        raise OSError(ctypes.get_errno(), "shmget")
    out.exit.callback(libc.shmctl, segment, IPC_RMID, None)
    memory = ctypes.c_void_p(libc.shmat(segment, None, 0))
    ctypes.memmove(memory, SECRET.encode(), len(SECRET))
    libc.shmdt(memory)
    out.arguments += [key]


def attempt(key: str) -> None:
    segment = libc.shmget(int(key), 0, 0)
    if segment < 0:
        raise OSError(ctypes.get_errno(), "shmget")
    see(ctypes.string_at(libc.shmat(segment, None, 0)))
