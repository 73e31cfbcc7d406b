"""The caller's terminal cannot be opened again by its name in /dev/pts to read what is typed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = ("-p", "none", "-x", "@system")


def setup(out: Outside) -> None:
    out.terminal()
    out.arguments += [out.options["terminal"]]


def attempt(path: str) -> None:
    os.close(os.open(path, os.O_RDWR | os.O_NOCTTY))
