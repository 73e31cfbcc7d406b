"""The command can put nothing of its own over what the system's programs read."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.probes.inside import SECRET, read, syscall

if TYPE_CHECKING:
    from tests.escape.outside import Outside

PREFIX = ("unshare", "--user", "--map-root-user", "--mount")
SANDRUN = ("-p", "none", "-x", "@system", "-w", "{work}", "--tmp", "private", "--isolate", "true")
MS_BIND = 0x1000


def needs() -> None:
    from tests import support

    support.need_userns()


def setup(out: Outside) -> None:
    out.directory(out.work)


def attempt() -> None:
    with open("mine", "w", encoding="ascii") as file:
        file.write(SECRET)
    syscall("mount", os.fsencode(os.getcwd()) + b"/mine", b"/etc/hostname", None, MS_BIND, None)
    read("/etc/hostname")
