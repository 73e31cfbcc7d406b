"""A file of the command's own cannot be renamed over one outside the grants."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside

REFUSALS = ("EXDEV",)


def setup(out: Outside) -> None:
    out.kept = out.secret()
    out.arguments += [out.kept]


def attempt(path: str) -> None:
    with open("mine", "w", encoding="utf-8") as file:
        file.write("gone")
    os.rename("mine", path)


def unharmed(out: Outside) -> bool:
    return "gone" not in out.kept.read_text()
