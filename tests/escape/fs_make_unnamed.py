"""No unnamed file can be made outside the grants by O_TMPFILE."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside


def setup(out: Outside) -> None:
    out.arguments += [out.directory(out.box / "outside")]


def attempt(path: str) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_TMPFILE, 0o600))
