"""Nor on a file that is made with the bit from the start."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside


def setup(out: Outside) -> None:
    out.kept = out.work / "shell"


def attempt() -> None:
    os.umask(0)
    os.close(os.open("shell", os.O_CREAT | os.O_WRONLY, 0o4755))


def unharmed(out: Outside) -> bool:
    return not out.kept.exists()
