"""Root with the capability is refused the newer way to mount, fsopen(2)."""

from __future__ import annotations

from tests.probes.inside import reaches_the_kernel

WHO = ("root",)
SANDRUN = ("--capability", "sys_admin")


def attempt() -> None:
    reaches_the_kernel("fsopen", None, 0)
