"""Root cannot make a device file, not even in a directory that it may write and with the capability."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside

WHO = ("root",)
SANDRUN = ("--capability", "mknod")


def setup(out: Outside) -> None:
    out.kept = out.work / "disk"


def attempt() -> None:
    os.mknod("disk", 0o600 | stat.S_IFCHR, os.makedev(1, 3))


def unharmed(out: Outside) -> bool:
    return not out.kept.exists()
