"""Root without capabilities cannot read a file of another user that is closed to it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.probes.inside import read

if TYPE_CHECKING:
    from tests.escape.outside import Outside

WHO = ("root",)


def setup(out: Outside) -> None:
    os.chown(out.file(out.work / "file"), 1234, 1234)


def attempt() -> None:
    read("file")
