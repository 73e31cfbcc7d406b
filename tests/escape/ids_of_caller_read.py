"""As another user, a command cannot read what its caller keeps to itself, also where the profile grants it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.probes.inside import read

if TYPE_CHECKING:
    from tests.escape.outside import Outside

WHO = ("user",)
SANDRUN = ("--user", "nobody")


def needs() -> None:
    from tests import support

    support.need_ranges()


def setup(out: Outside) -> None:
    from tests import support

    out.who = support.ranged(out.who)
    out.file(out.work / "file")


def attempt() -> None:
    read("file")
