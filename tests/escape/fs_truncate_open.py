"""A file that may only be read cannot be cut off by O_RDONLY|O_TRUNC, which asks for no write access."""

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
    os.open(path, os.O_RDONLY | os.O_TRUNC)


def unharmed(out: Outside) -> bool:
    return bool(out.kept.read_text())
