"""The default profile refuses chroot(2)."""

from __future__ import annotations

from tests.probes.inside import reaches_the_kernel


def attempt() -> None:
    reaches_the_kernel("chroot", None)
