"""No process in another root leads to that of the host, not the init process either."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from tests.probes.inside import read

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = ("-p", "{profile}", "--root", "{root}", "-r", "/", "--proc", "own", "--isolate", "true")


def setup(out: Outside) -> None:
    out.root()
    out.arguments.append(out.secret())


def attempt(path: str) -> None:
    for name in ("self", "1", *os.listdir("/proc")):
        for way in ("root", "cwd/" + "../" * 50, "task/" + name + "/root"):
            with suppress(OSError):
                read(f"/proc/{name}/{way}{path}")
                return
    read(path)
