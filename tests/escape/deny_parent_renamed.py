"""A denied file in a writable tree does not become readable by renaming the directory above it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.probes.inside import read

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = (
    "-p",
    "none",
    "-x",
    "@system",
    "-w",
    "{work}",
    "--deny",
    "{work}/private/key",
    "--optional",
    "filesystem.deny",
)
REFUSALS = ("EXDEV", "EBUSY")


def setup(out: Outside) -> None:
    out.file(out.work / "private" / "key")


def attempt() -> None:
    os.rename("private", "public")
    read("public/key")
