"""Even with all of TCP and UDP granted, no AF_ALG socket, the door to the kernel's ciphers, can be made."""

from __future__ import annotations

from tests.probes.inside import family_reaches_the_kernel

SANDRUN = ("--connect", "*")
REFUSALS = ("EAFNOSUPPORT",)
AF_ALG = 38


def attempt() -> None:
    family_reaches_the_kernel(AF_ALG)
