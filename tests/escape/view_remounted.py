"""What is never to be written cannot be remounted to be written."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.probes.inside import syscall

if TYPE_CHECKING:
    from tests.escape.outside import Outside

PREFIX = (
    "unshare", "--user", "--map-root-user", "--mount",
    "sh", "-c", 'mount --bind public public && mount -o remount,bind,ro public && exec "$@"', "sh",
)  # fmt: skip
SANDRUN = ("-p", "none", "-x", "@system", "-w", "{work}", "--deny-write", "{work}/public")
MS_REMOUNT, MS_BIND = 0x20, 0x1000


def needs() -> None:
    from tests import support

    support.need_userns()


def setup(out: Outside) -> None:
    out.kept = out.file(out.work / "public" / "file", "as it was")


def attempt() -> None:
    syscall("mount", None, os.fsencode(os.getcwd()) + b"/public", None, MS_REMOUNT | MS_BIND, None)
    with open("public/file", "w", encoding="ascii") as file:
        file.write("changed")


def unharmed(out: Outside) -> bool:
    return bool(out.kept.read_text() == "as it was")
