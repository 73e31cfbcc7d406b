"""A denied file in a writable tree can be neither removed nor replaced."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = (
    "-p",
    "none",
    "-x",
    "@system",
    "-w",
    "{work}",
    "--deny",
    "{work}/private/key",
    "--optional",
    "filesystem.deny",
)
REFUSALS = ("EBUSY",)


def setup(out: Outside) -> None:
    out.kept = out.file(out.work / "private" / "key")


def attempt() -> None:
    os.unlink("private/key")


def unharmed(out: Outside) -> bool:
    return bool(out.kept.exists())
