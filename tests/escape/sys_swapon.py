"""Root with the capability is refused swapon(2)."""

from __future__ import annotations

from tests.probes.inside import reaches_the_kernel

WHO = ("root",)
SANDRUN = ("--capability", "sys_admin")


def attempt() -> None:
    reaches_the_kernel("swapon", None, 0x7FFF0000, answers=("EINVAL", "EFAULT"))
