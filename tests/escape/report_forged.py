"""A command that can write the report's directory cannot leave its own report in place of the real one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = ("--report", "{work}/report")
STATUSES = (0,)


def setup(out: Outside) -> None:
    out.arguments += [out.work / "report"]


def attempt(report: str) -> None:
    Path(report).write_text("forged")
    # Every name that could be guessed for the file that is to take its place.
    for pid in (os.getppid(), os.getpid()):
        Path(f".sandrun-report.{pid}").touch()


def unharmed(out: Outside) -> bool:
    return (out.work / "report").read_text() != "forged"
