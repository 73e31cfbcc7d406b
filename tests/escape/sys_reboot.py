"""Root with the capability is refused reboot(2), here with a magic number that no kernel obeys."""

from __future__ import annotations

from tests.probes.inside import reaches_the_kernel

WHO = ("root",)
SANDRUN = ("--capability", "sys_boot")


def attempt() -> None:
    reaches_the_kernel("reboot", 0x1234, 0x1234, 0, None, answers=("EINVAL",))
