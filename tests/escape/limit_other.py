"""The resource limits of another process of the same user can be neither read nor set."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside


def setup(out: Outside) -> None:
    out.kept = out.victim().pid
    out.arguments += [out.kept]


def attempt(pid: str) -> None:
    resource.prlimit(int(pid), resource.RLIMIT_CPU, (4321, 4321))


def unharmed(out: Outside) -> bool:
    return "4321" not in Path(f"/proc/{out.kept}/limits").read_text()
