"""An address family that sandrun never heard of is refused: families are an allow-list."""

from __future__ import annotations

from tests.probes.inside import reaches_the_kernel

SANDRUN = ("--connect", "*")
SOCK_STREAM = 1


def attempt() -> None:
    reaches_the_kernel("socket", 4242, SOCK_STREAM, 0, answers=("EAFNOSUPPORT",))
