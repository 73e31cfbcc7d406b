"""Nobody is lent the caller's ids: no set-user-ID bit on a file that the command may write."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside


def setup(out: Outside) -> None:
    out.kept = out.file(out.work / "shell", mode=0o755)


def attempt() -> None:
    os.chmod("shell", 0o4755)


def unharmed(out: Outside) -> bool:
    return bool(out.kept.stat().st_mode & 0o7777 == 0o755)
