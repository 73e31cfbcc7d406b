"""The descriptors of another process of the same user cannot be taken, though the profile allows the syscall."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.probes.inside import see, syscall

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = ("--allow-syscall", "pidfd_getfd")


def setup(out: Outside) -> None:
    out.arguments += [out.victim(stdin=out.keep(out.secret().open())).pid]


def attempt(pid: str) -> None:
    see(os.pread(syscall("pidfd_getfd", os.pidfd_open(int(pid)), 0, 0), 100, 0))
