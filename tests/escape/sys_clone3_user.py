"""No user namespace can be had by clone3(2), whose flags no filter can see: it answers ENOSYS."""

from __future__ import annotations

import os
import signal
import struct

from tests.probes.inside import syscall

REFUSALS = ("ENOSYS",)
CLONE_NEWUSER = 0x10000000


def needs() -> None:
    from tests import support

    support.need_userns()


def attempt() -> None:
    # flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls: clone(2)
    arguments = struct.pack("8Q", CLONE_NEWUSER, 0, 0, 0, signal.SIGCHLD, 0, 0, 0)
    pid = syscall("clone3", arguments, len(arguments))
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
