"""A link that the command makes in another root leads to what is inside."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from tests.probes.inside import read

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = ("-p", "{profile}", "--root", "{root}", "-r", "/", "-w", "/work", "--cwd", "/work")


def setup(out: Outside) -> None:
    out.root()
    out.arguments.append(out.secret())


def attempt(path: str) -> None:
    os.symlink(path, "absolute")
    os.symlink("../" * 100 + path[1:], "relative")
    with suppress(OSError):
        read("absolute")
        return
    read("relative")
