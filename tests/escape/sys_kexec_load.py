"""Root with the capability is refused kexec_load(2)."""

from __future__ import annotations

from tests.probes.inside import reaches_the_kernel

WHO = ("root",)
SANDRUN = ("--capability", "sys_boot")


def attempt() -> None:
    reaches_the_kernel("kexec_load", 0, 10000, None, 0xFFFF, answers=("EINVAL", "ENOSYS"))
