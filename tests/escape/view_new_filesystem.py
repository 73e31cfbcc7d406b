"""A filesystem made by fsopen(2) cannot be put over anything, nor in a user namespace of the command's own."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from tests.probes.inside import syscall

if TYPE_CHECKING:
    from tests.escape.outside import Outside

PREFIX = ("unshare", "--user", "--map-root-user", "--mount")
SANDRUN = ("-p", "none", "-x", "@system", "-w", "{work}", "--tmp", "private", "--isolate", "true")
CLONE_NEWUSER, CLONE_NEWNS = 0x10000000, 0x00020000
AT_FDCWD, FSCONFIG_CMD_CREATE, MOVE_MOUNT_F_EMPTY_PATH = -100, 6, 4


def needs() -> None:
    from tests import support

    support.need_userns()


def setup(out: Outside) -> None:
    out.directory(out.work / "public")


def attempt() -> None:
    with suppress(OSError):
        syscall("unshare", CLONE_NEWUSER | CLONE_NEWNS)
    context = syscall("fsopen", b"tmpfs", 0)
    syscall("fsconfig", context, FSCONFIG_CMD_CREATE, None, None, 0)
    mount = syscall("fsmount", context, 0, 0)
    syscall("move_mount", mount, b"", AT_FDCWD, b"public", MOVE_MOUNT_F_EMPTY_PATH)
