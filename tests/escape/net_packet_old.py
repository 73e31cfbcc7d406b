"""The old packet socket of AF_INET (SOCK_PACKET) is closed to root with the capability too."""

from __future__ import annotations

from tests.probes.inside import syscall

SANDRUN = ("--connect", "*", "--capability", "net_raw")
WHO = ("root",)
AF_INET, SOCK_PACKET = 2, 10


def attempt() -> None:
    syscall("socket", AF_INET, SOCK_PACKET, 0)
