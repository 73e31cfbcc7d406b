"""Root with the capability is refused finit_module(2)."""

from __future__ import annotations

from tests.probes.inside import reaches_the_kernel

WHO = ("root",)
SANDRUN = ("--capability", "sys_module")


def attempt() -> None:
    reaches_the_kernel("finit_module", -1, None, 0, answers=("EBADF", "ENOSYS"))
