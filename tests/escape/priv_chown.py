"""Root without capabilities cannot give files away."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside

WHO = ("root",)


def setup(out: Outside) -> None:
    out.kept = out.file(out.work / "file")


def attempt() -> None:
    os.chown("file", 1234, 1234)


def unharmed(out: Outside) -> bool:
    return bool(out.kept.stat().st_uid == 0)
