"""A file that may only be read cannot be cut off by truncate(2)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = ("-p", "none", "-x", "@system", "-r", "{box}")


def setup(out: Outside) -> None:
    out.kept = out.secret()
    out.arguments += [out.kept]


def attempt(path: str) -> None:
    os.truncate(path, 0)


def unharmed(out: Outside) -> bool:
    return bool(out.kept.read_text())
