"""A file outside the grants cannot be renamed into them and be read there."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.probes.inside import read

if TYPE_CHECKING:
    from tests.escape.outside import Outside

REFUSALS = ("EXDEV",)


def setup(out: Outside) -> None:
    out.kept = out.secret()
    out.arguments += [out.kept]


def attempt(path: str) -> None:
    os.rename(path, "mine")
    read("mine")


def unharmed(out: Outside) -> bool:
    return bool(out.kept.exists())
