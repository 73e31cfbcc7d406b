"""A program that may only be read cannot be executed by execve(2)."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = ("-p", "none", "-x", "@system", "-r", "{box}")


def setup(out: Outside) -> None:
    program = out.work / "program"
    shutil.copy("/bin/true", program)
    program.chmod(0o755)
    out.who.own(program)


def attempt() -> None:
    os.execv("./program", ["program"])
