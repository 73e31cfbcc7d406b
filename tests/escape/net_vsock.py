"""Even with all of TCP and UDP granted, no vsock, which reaches the host of a virtual machine, can be made."""

from __future__ import annotations

from tests.probes.inside import family_reaches_the_kernel

SANDRUN = ("--connect", "*")
REFUSALS = ("EAFNOSUPPORT",)
AF_VSOCK = 40


def attempt() -> None:
    family_reaches_the_kernel(AF_VSOCK)
