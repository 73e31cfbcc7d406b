"""The private temporary directory goes too when the command is killed."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside

STATUSES = (137,)
CONTROL_STATUS = 137


def setup(out: Outside) -> None:
    out.kept = out.who.tmp


def attempt() -> None:
    with open(os.environ["TMPDIR"] + "/file", "w", encoding="utf-8") as file:
        file.write("left")
    os.kill(os.getpid(), signal.SIGKILL)


def unharmed(out: Outside) -> bool:
    left = list(out.kept.iterdir())
    for path in left:
        if path.name == "file":
            path.unlink()
    return not left
