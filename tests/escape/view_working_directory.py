"""A working directory that is denied is not entered, by its name or by an old reference."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.probes.inside import read

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = ("-p", "none", "-x", "@system", "-w", "{work}", "--deny", "{work}/private")
STATUSES = (125,)
SAYS = "cannot enter the working directory"


def setup(out: Outside) -> None:
    out.file(out.work / "private" / "key")
    out.options["cwd"] = out.work / "private"


def attempt() -> None:
    os.listdir(".")
    read("key")
