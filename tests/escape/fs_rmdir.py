"""No directory outside the grants can be removed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside


def setup(out: Outside) -> None:
    out.kept = out.directory(out.box / "outside")
    out.arguments += [out.kept]


def attempt(path: str) -> None:
    os.rmdir(path)


def unharmed(out: Outside) -> bool:
    return bool(out.kept.exists())
