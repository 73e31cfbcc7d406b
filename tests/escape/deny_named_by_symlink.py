"""A deny that is written as a symlink holds for the file behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.probes.inside import read

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = ("-p", "none", "-x", "@system", "-r", "{work}", "--deny", "{work}/link")


def setup(out: Outside) -> None:
    out.file(out.work / "private" / "key")
    (out.work / "link").symlink_to("private/key")


def attempt() -> None:
    read("private/key")
