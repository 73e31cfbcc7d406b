"""No file outside the grants can be removed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside


def setup(out: Outside) -> None:
    out.kept = out.secret()
    out.arguments += [out.kept]


def attempt(path: str) -> None:
    os.unlink(path)


def unharmed(out: Outside) -> bool:
    return bool(out.kept.exists())
