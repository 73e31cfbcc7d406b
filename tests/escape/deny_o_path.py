"""A denied file cannot be opened by O_PATH and then again for reading."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.probes.inside import see

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = ("-p", "none", "-x", "@system", "-r", "{work}", "-r", "/proc", "--deny", "{work}/private/key")


def setup(out: Outside) -> None:
    out.file(out.work / "private" / "key")


def attempt() -> None:
    fd = os.open("private/key", os.O_PATH)
    see(os.read(os.open(f"/proc/self/fd/{fd}", os.O_RDONLY), 100))
