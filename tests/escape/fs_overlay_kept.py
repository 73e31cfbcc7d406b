"""What is changed, deleted and made below an overlay does not reach the host."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = ("--overlay", ".", "--on-exit", "discard")
STATUSES = (0,)


def needs() -> None:
    from tests import support

    support.need_userns()


def setup(out: Outside) -> None:
    for name in ("changed", "deleted", "changed mode"):
        out.file(out.work / name)
    out.kept = _seen(out)


def attempt() -> None:
    with open("changed", "a", encoding="utf-8") as file:
        file.write("gone")
    os.unlink("deleted")
    os.chmod("changed mode", 0o666)
    os.mkdir("made")


def unharmed(out: Outside) -> bool:
    return _seen(out) == out.kept


def _seen(out: Outside) -> dict[str, tuple[int, ...]]:
    """Each entry's inode, mode, size, and time of change, which nobody can set back."""
    return {
        path.name: (found.st_ino, found.st_mode, found.st_size, found.st_ctime_ns)
        for path in sorted(out.work.iterdir())
        for found in [path.lstat()]
    }
