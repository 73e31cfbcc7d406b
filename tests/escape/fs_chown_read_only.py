"""The read-only profile does not let owners be changed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = ("-p", "read-only")


def setup(out: Outside) -> None:
    out.file(out.work / "tool")


def attempt() -> None:
    os.chown("tool", os.getuid(), os.getgid())
