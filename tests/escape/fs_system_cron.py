"""Root cannot plant a job in /etc/cron.d (or, where there is none, anything else in /etc)."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside

WHO = ("root",)
PLANTED = "sandrun-escape-test-is-harmless"


def setup(out: Outside) -> None:
    folder = Path("/etc/cron.d")
    # A name with a dot in it would do too: cron(8) reads neither it nor an empty file.
    out.kept = (folder if folder.is_dir() else folder.parent) / f".{PLANTED}-{os.getpid()}"
    out.arguments += [out.kept]


def attempt(path: str) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))


def unharmed(out: Outside) -> bool:
    with contextlib.suppress(FileNotFoundError):
        out.kept.unlink()
        return False
    return True
