"""A file outside the grants cannot be linked into them and be read there."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.probes.inside import read

if TYPE_CHECKING:
    from tests.escape.outside import Outside

REFUSALS = ("EXDEV",)


def setup(out: Outside) -> None:
    out.arguments += [out.secret()]


def attempt(path: str) -> None:
    os.link(path, "copy")
    read("copy")
