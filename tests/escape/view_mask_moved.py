"""What covers a denied directory cannot be moved away."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.probes.inside import read, syscall

if TYPE_CHECKING:
    from tests.escape.outside import Outside

PREFIX = (
    "unshare", "--user", "--map-root-user", "--mount", "sh", "-c", 'mount -t tmpfs none private && exec "$@"', "sh",
)  # fmt: skip
SANDRUN = ("-p", "none", "-x", "@system", "-w", "{work}", "--deny", "{work}/private")
MS_MOVE = 0x2000


def needs() -> None:
    from tests import support

    support.need_userns()


def setup(out: Outside) -> None:
    out.file(out.work / "private" / "key")
    out.directory(out.work / "public")


def attempt() -> None:
    here = os.fsencode(os.getcwd())
    syscall("mount", here + b"/private", here + b"/public", None, MS_MOVE, None)
    read("private/key")
