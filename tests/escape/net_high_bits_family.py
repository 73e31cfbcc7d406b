"""An address family with bits above the 32 that the kernel looks at is no other family."""

from __future__ import annotations

from tests.probes.inside import syscall

REFUSALS = ("EAFNOSUPPORT",)
AF_INET, SOCK_STREAM = 2, 1


def attempt() -> None:
    syscall("socket", AF_INET | 1 << 32, SOCK_STREAM, 0)
