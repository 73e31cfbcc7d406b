"""A symlink that the command makes in a directory it may write does not lead out of it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.probes.inside import read

if TYPE_CHECKING:
    from tests.escape.outside import Outside


def setup(out: Outside) -> None:
    out.arguments += [out.secret()]


def attempt(path: str) -> None:
    os.symlink(path, "link")
    read("link")
