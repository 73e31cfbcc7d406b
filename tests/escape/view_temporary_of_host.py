"""The host's temporary directory is out of reach by every way that leads up or down to it."""

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
    "-r",
    "/",
    "-w",
    "{work}",
    "--tmp",
    "private",
    "--proc",
    "own",
    "--optional",
    "filesystem.write",
)


def setup(out: Outside) -> None:
    out.arguments.append(out.secret())


def attempt(path: str) -> None:
    ways = (
        path,
        "../outside/secret",
        f"/proc/self/cwd/..{'/outside/secret'}",
        f"/proc/self/root{path}",
        f"/usr/..{path}",
    )
    for way in ways:
        with suppress(OSError):
            read(way)
            return
    read(os.path.realpath(path))
