"""With --tty pty the command's terminal is one of its own, and not the caller's."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.probes.inside import Blocked

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = ("--tty", "pty")


def setup(out: Outside) -> None:
    out.terminal()
    out.arguments += [os.stat(out.options["terminal"]).st_rdev]


def attempt(device: str) -> None:
    if not os.isatty(0):
        raise RuntimeError("no terminal at all")
    if os.fstat(0).st_rdev != int(device):
        raise Blocked("another terminal")
