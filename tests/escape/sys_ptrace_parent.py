"""The supervisor cannot be traced."""

from __future__ import annotations

from tests.probes.inside import supervisor, syscall

PTRACE_SEIZE = 0x4206


def attempt() -> None:
    syscall("ptrace", PTRACE_SEIZE, supervisor(), 0, 0)
