"""A directory passed on purpose by --pass-fd still opens nothing that the grants do not cover."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.probes.inside import see

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = ("--pass-fd", "{fd}")


def setup(out: Outside) -> None:
    fd = os.open(out.secret().parent, os.O_RDONLY)
    out.exit.callback(os.close, fd)
    out.inherit(fd)
    out.arguments += [fd]
    out.values["fd"] = fd


def attempt(fd: str) -> None:
    see(os.read(os.open("secret", os.O_RDONLY, dir_fd=int(fd)), 100))
