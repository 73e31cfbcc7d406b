"""The init process of the command's pid namespace cannot be traced, though the profile allows ptrace(2)."""

from __future__ import annotations

from tests.probes.inside import BELOW_ANOTHER_INIT, syscall

SANDRUN = ("--allow-syscall", "ptrace")
PREFIX = BELOW_ANOTHER_INIT
PTRACE_SEIZE = 0x4206


def needs() -> None:
    from tests import support

    support.need_userns()


def attempt() -> None:
    syscall("ptrace", PTRACE_SEIZE, 1, 0, 0)
