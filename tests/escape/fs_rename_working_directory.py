"""The granted directory itself cannot be moved away from its place."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside

REFUSALS = ("EXDEV", "EBUSY")


def setup(out: Outside) -> None:
    out.kept = out.work
    out.arguments += [out.work, out.box / "moved"]


def attempt(path: str, target: str) -> None:
    os.rename(path, target)


def unharmed(out: Outside) -> bool:
    return bool(out.kept.exists())
