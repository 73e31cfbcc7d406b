"""The default profile refuses umount2(2)."""

from __future__ import annotations

from tests.probes.inside import reaches_the_kernel


def attempt() -> None:
    reaches_the_kernel("umount2", None, 0)
