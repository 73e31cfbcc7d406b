"""The memory of another process of the same user cannot be opened in /proc."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside


def setup(out: Outside) -> None:
    out.arguments += [out.victim().pid]


def attempt(pid: str) -> None:
    os.close(os.open(f"/proc/{pid}/mem", os.O_RDONLY))
