"""Root that ran the command as an ordinary user is not to be had again by setuid(2), nor its groups."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside

WHO = ("root",)
SANDRUN = ("--user", "1234", "-w", "{work}")


def setup(out: Outside) -> None:
    from tests import support

    for path in (out.box, out.work):
        os.chown(path, support.USER_UID, support.USER_UID)


def attempt() -> None:
    try:
        os.setgroups([0])
    except PermissionError:
        os.setresuid(0, 0, 0)
