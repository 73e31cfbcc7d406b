"""A second name of a denied file is no way to it: sandrun refuses such a grant before it starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.probes.inside import read

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = ("-p", "none", "-x", "@system", "-r", "{work}", "--deny", "{work}/private/key")
STATUSES = (125,)
SAYS = "hard links"


def setup(out: Outside) -> None:
    (out.work / "innocent").hardlink_to(out.file(out.work / "private" / "key"))


def attempt() -> None:
    read("innocent")
