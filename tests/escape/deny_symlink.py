"""A symlink in the granted tree is no way around a deny."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.probes.inside import read

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = ("-p", "none", "-x", "@system", "-r", "{work}", "--deny", "{work}/private/key")


def setup(out: Outside) -> None:
    out.file(out.work / "private" / "key")
    (out.work / "link").symlink_to("private/key")


def attempt() -> None:
    read("link")
