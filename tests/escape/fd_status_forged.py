"""The command cannot write to the descriptor of --status-fd and pretend to have ended otherwise."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = ("--status-fd", "{fd}")
REFUSALS = ("EBADF",)


def setup(out: Outside) -> None:
    reader, writer = out.pipe()
    out.inherit(writer)
    out.values["fd"] = writer
    out.arguments += [writer]
    out.kept = reader


def attempt(fd: str) -> None:
    os.write(int(fd), b'{"forged": 1}\n')


def unharmed(out: Outside) -> bool:
    os.set_blocking(out.kept, False)
    return b"forged" not in os.read(out.kept, 10000)
