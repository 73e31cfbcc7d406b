"""Even with all of TCP and UDP granted, no vsock, which reaches the host of a virtual machine, can be made."""

from __future__ import annotations

from tests.probes.inside import reaches_the_kernel

SANDRUN = ("--connect", "*")
AF_VSOCK, SOCK_STREAM = 40, 1


def attempt() -> None:
    reaches_the_kernel("socket", AF_VSOCK, SOCK_STREAM, 0, answers=("EAFNOSUPPORT",))
