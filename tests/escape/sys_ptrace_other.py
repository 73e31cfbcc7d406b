"""Another process of the same user cannot be traced."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.probes.inside import syscall

if TYPE_CHECKING:
    from tests.escape.outside import Outside

BARE = True
PTRACE_SEIZE = 0x4206


def setup(out: Outside) -> None:
    out.arguments += [out.victim().pid]


def attempt(pid: str) -> None:
    syscall("ptrace", PTRACE_SEIZE, int(pid), 0, 0)
