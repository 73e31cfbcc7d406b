"""Root with the capability cannot show a denied directory somewhere else by a bind mount of its own."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.probes.inside import read, syscall

if TYPE_CHECKING:
    from tests.escape.outside import Outside

WHO = ("root",)
PREFIX = ("unshare", "--mount", "--propagation", "private")
SANDRUN = ("-p", "none", "-x", "@system", "-r", "{work}", "--deny", "{work}/private", "--capability", "sys_admin")
MS_BIND = 0x1000


def setup(out: Outside) -> None:
    out.file(out.work / "private" / "key")
    out.directory(out.work / "public")


def attempt() -> None:
    here = os.fsencode(os.getcwd())
    syscall("mount", here + b"/private", here + b"/public", None, MS_BIND, None)
    read("public/key")
