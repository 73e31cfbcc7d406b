"""Root with the capability is refused init_module(2)."""

from __future__ import annotations

from tests.probes.inside import reaches_the_kernel

WHO = ("root",)
SANDRUN = ("--capability", "sys_module")


def attempt() -> None:
    reaches_the_kernel("init_module", None, 0, None, answers=("EFAULT", "ENOEXEC", "ENOSYS"))
