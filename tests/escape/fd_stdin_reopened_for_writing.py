"""A file that is standard input for reading cannot be opened again for writing."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside


def setup(out: Outside) -> None:
    out.kept = out.secret()
    out.options["stdin"] = out.keep(out.kept.open())


def attempt() -> None:
    fd = os.open("/proc/self/fd/0", os.O_WRONLY)
    os.write(fd, b"gone")


def unharmed(out: Outside) -> bool:
    return "gone" not in out.kept.read_text()
