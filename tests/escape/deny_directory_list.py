"""A denied directory cannot be listed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = ("-p", "none", "-x", "@system", "-r", "{work}", "--deny", "{work}/private")


def setup(out: Outside) -> None:
    out.file(out.work / "private" / "key")


def attempt() -> None:
    os.listdir("private")
