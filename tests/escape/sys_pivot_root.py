"""Root with the capability is refused pivot_root(2)."""

from __future__ import annotations

from tests.probes.inside import reaches_the_kernel

WHO = ("root",)
SANDRUN = ("--capability", "sys_admin")


def attempt() -> None:
    reaches_the_kernel("pivot_root", None, None)
