"""A command that may chroot(2) does not climb out of another root with a directory kept from before."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.probes.inside import read

if TYPE_CHECKING:
    from tests.escape.outside import Outside

WHO = ("root",)
SANDRUN = ("-p", "{profile}", "--root", "{root}", "-r", "/", "-w", "/work", "--capability", "sys_chroot")


def setup(out: Outside) -> None:
    out.root()
    out.arguments.append(out.secret())


def attempt(path: str) -> None:
    kept = os.open("/", os.O_RDONLY)
    os.chroot("/usr")
    os.fchdir(kept)
    for _ in range(100):
        os.chdir("..")
    os.chroot(".")
    read(path)
