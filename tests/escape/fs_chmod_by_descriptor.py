"""The read-only profile does not let modes be changed through an open descriptor either."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = ("-p", "read-only")


def setup(out: Outside) -> None:
    out.kept = out.file(out.work / "tool", mode=0o600)


def attempt() -> None:
    os.fchmod(os.open("tool", os.O_RDONLY), 0o4755)


def unharmed(out: Outside) -> bool:
    return bool(out.kept.stat().st_mode & 0o7777 == 0o600)
