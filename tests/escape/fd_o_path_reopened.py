"""A descriptor of O_PATH, which Landlock lets everyone open, cannot be opened again for reading."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.probes.inside import see

if TYPE_CHECKING:
    from tests.escape.outside import Outside


def setup(out: Outside) -> None:
    out.arguments += [out.secret()]


def attempt(path: str) -> None:
    fd = os.open(path, os.O_PATH)
    see(os.read(os.open(f"/proc/self/fd/{fd}", os.O_RDONLY), 100))
