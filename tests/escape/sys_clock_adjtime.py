"""The default profile refuses clock_adjtime(2)."""

from __future__ import annotations

from tests.probes.inside import reaches_the_kernel

CLOCK_REALTIME = 0


def attempt() -> None:
    reaches_the_kernel("clock_adjtime", CLOCK_REALTIME, None)
