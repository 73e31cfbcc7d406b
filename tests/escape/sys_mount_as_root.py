"""Root can mount nothing, with the capability and in a mount namespace that the attempt starts in."""

from __future__ import annotations

import os

from tests.probes.inside import syscall

WHO = ("root",)
SANDRUN = ("--capability", "sys_admin")
PREFIX = ("unshare", "--mount", "--propagation", "private")


def attempt() -> None:
    syscall("mount", b"none", os.fsencode(os.getcwd()), b"tmpfs", 0, None)
