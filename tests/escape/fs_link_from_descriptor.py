"""A descriptor of O_PATH cannot be linked into the grants by way of /proc/self/fd."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.probes.inside import read, syscall

if TYPE_CHECKING:
    from tests.escape.outside import Outside

REFUSALS = ("EXDEV",)
AT_FDCWD = -100
AT_SYMLINK_FOLLOW = 0x400


def setup(out: Outside) -> None:
    out.arguments += [out.secret()]


def attempt(path: str) -> None:
    fd = os.open(path, os.O_PATH)
    syscall("linkat", AT_FDCWD, b"/proc/self/fd/%d" % fd, AT_FDCWD, b"copy", AT_SYMLINK_FOLLOW)
    read("copy")
