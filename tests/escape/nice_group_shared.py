"""On a terminal the command shares its process group with its caller's pipeline, whose nice values it cannot change."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside

_NEIGHBOUR = 'sleep 60 & "$@"; status=$?; cut -d " " -f 19 /proc/$!/stat >nice; kill $!; exit $status'
PREFIX = ("sh", "-c", _NEIGHBOUR, "sh")


def setup(out: Outside) -> None:
    out.terminal()


def attempt() -> None:
    os.setpriority(os.PRIO_PGRP, 0, 19)


def unharmed(out: Outside) -> bool:
    return (out.work / "nice").read_text() != "19\n"
