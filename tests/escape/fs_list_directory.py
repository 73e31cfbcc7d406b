"""A directory outside the grants cannot be listed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside


def setup(out: Outside) -> None:
    out.arguments += [out.secret().parent]


def attempt(path: str) -> None:
    if "secret" not in os.listdir(path):
        raise RuntimeError("an empty directory")
