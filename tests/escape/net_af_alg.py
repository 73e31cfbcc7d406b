"""Even with all of TCP and UDP granted, no AF_ALG socket, the door to the kernel's ciphers, can be made."""

from __future__ import annotations

from tests.probes.inside import reaches_the_kernel

SANDRUN = ("--connect", "*")
AF_ALG, SOCK_SEQPACKET = 38, 5


def attempt() -> None:
    reaches_the_kernel("socket", AF_ALG, SOCK_SEQPACKET, 0, answers=("EAFNOSUPPORT",))
