"""The default profile does not let a file be left in /dev/shm for other processes to find."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside


STATUSES = (0, 3)
"""It may do so in shared memory of its own; without a mount namespace it may not."""


def setup(out: Outside) -> None:
    out.kept = Path("/dev/shm", out.box.name)
    out.arguments += [out.kept]


def attempt(path: str) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))


def unharmed(out: Outside) -> bool:
    if out.kept.exists():
        out.kept.unlink()
        return False
    return True
