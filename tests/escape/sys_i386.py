"""A syscall by int 0x80, whose numbers mean other things, kills the command."""

from __future__ import annotations

import ctypes
import mmap

BARE = True
MACHINE = "x86_64"
STATUSES = (159,)
GETPID_I386 = 20


def attempt() -> None:
    # mov eax, 20; int 0x80; ret
    code = b"\xb8" + GETPID_I386.to_bytes(4, "little") + b"\xcd\x80\xc3"
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    call = ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
    if call() <= 0:
        raise RuntimeError("this kernel runs no i386 syscalls")
