"""The read-only profile does not let time stamps be changed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = ("-p", "read-only")


def setup(out: Outside) -> None:
    out.kept = out.file(out.work / "tool")


def attempt() -> None:
    os.utime("tool", (1, 1))


def unharmed(out: Outside) -> bool:
    return bool(out.kept.stat().st_mtime > 1)
