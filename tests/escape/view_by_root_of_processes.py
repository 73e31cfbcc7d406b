"""No process that can be seen leads to the host's root directory, not the init process either."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from tests.probes.inside import read

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = (
    "-p",
    "none",
    "-x",
    "@system",
    "-w",
    "{work}",
    "--proc",
    "own",
    "--isolate",
    "true",
    "--deny",
    "{work}/private",
)


def setup(out: Outside) -> None:
    out.file(out.work / "private" / "key")
    out.arguments.append(out.work / "private" / "key")


def attempt(path: str) -> None:
    for name in (*os.listdir("/proc"), "1"):
        if name.isdigit() and int(name) != os.getpid():
            for way in ("root", "cwd/../../..", "task/" + name + "/root"):
                with suppress(OSError):
                    read(f"/proc/{name}/{way}{path}")
                    return
    read(f"/proc/self/root{path}")
