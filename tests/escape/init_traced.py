"""The init process of the command's pid namespace cannot be traced, though the profile allows ptrace(2)."""

from __future__ import annotations

from tests.probes.inside import syscall

SANDRUN = ("--allow-syscall", "ptrace")
PREFIX = (
    "unshare",
    "--user",
    "--map-current-user",
    "--pid",
    "--fork",
    "--mount-proc",
    "sh",
    "-c",
    '"$@"; exit $?',
    "sh",
)
PTRACE_SEIZE = 0x4206


def needs() -> None:
    from tests import support

    support.need_userns()


def attempt() -> None:
    syscall("ptrace", PTRACE_SEIZE, 1, 0, 0)
