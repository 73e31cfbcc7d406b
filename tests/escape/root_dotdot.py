"""Going up from the top of another root stays there."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.probes.inside import read

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = ("-p", "{profile}", "--root", "{root}", "-r", "/")


def setup(out: Outside) -> None:
    out.root()
    out.arguments.append(out.secret())


def attempt(path: str) -> None:
    for _ in range(100):
        os.chdir("..")
    read("../" * 100 + path[1:])
