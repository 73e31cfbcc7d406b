"""Bits above the 32 that name namespaces do not smuggle clone(2) past the filter."""

from __future__ import annotations

import os
import signal

from tests.probes.inside import syscall

CLONE_NEWUSER = 0x10000000


def needs() -> None:
    from tests import support

    support.need_userns()


def attempt() -> None:
    pid = syscall("clone", CLONE_NEWUSER | signal.SIGCHLD | 1 << 40, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
