"""Another process of the same user cannot be seen in /proc at all."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside


def needs() -> None:
    from tests import support

    support.need_userns()


def setup(out: Outside) -> None:
    out.arguments += [out.victim().pid]


def attempt(pid: str) -> None:
    os.stat(f"/proc/{pid}")
