"""The supervisor cannot be traced."""

from __future__ import annotations

import os

from tests.probes.inside import syscall

PTRACE_SEIZE = 0x4206


def attempt() -> None:
    syscall("ptrace", PTRACE_SEIZE, os.getppid(), 0, 0)
