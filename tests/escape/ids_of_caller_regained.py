"""The id of the caller, which is mapped in the user namespace of a command that is another user, is not to be had again."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside

WHO = ("user",)
SANDRUN = ("-p", "none", "-x", "@all", "-w", "@all", "--user", "nobody")


def needs() -> None:
    from tests import support

    support.need_ranges()


def setup(out: Outside) -> None:
    from tests import support

    out.who = support.ranged(out.who)
    out.arguments += [out.who.uid]


def attempt(uid: str) -> None:
    os.setresuid(int(uid), int(uid), int(uid))
