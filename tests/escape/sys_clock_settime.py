"""The default profile refuses clock_settime(2) before the kernel looks at it."""

from __future__ import annotations

from tests.probes.inside import reaches_the_kernel

CLOCK_REALTIME = 0


def attempt() -> None:
    reaches_the_kernel("clock_settime", CLOCK_REALTIME, None)
