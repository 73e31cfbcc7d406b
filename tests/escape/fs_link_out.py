"""A file of the command's own cannot be linked to a place outside the grants."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside

REFUSALS = ("EXDEV",)


def setup(out: Outside) -> None:
    out.kept = out.secret().parent / "planted"
    out.arguments += [out.kept]


def attempt(path: str) -> None:
    with open("mine", "w", encoding="utf-8") as file:
        file.write("#!/bin/sh")
    os.link("mine", path)


def unharmed(out: Outside) -> bool:
    return not out.kept.exists()
