"""The default profile refuses settimeofday(2) before the kernel looks at it."""

from __future__ import annotations

from tests.probes.inside import reaches_the_kernel


def attempt() -> None:
    reaches_the_kernel("settimeofday", 8, None)
