"""Nothing below a denied directory can be read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.probes.inside import read

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = ("-p", "none", "-x", "@system", "-r", "{work}", "--deny", "{work}/private")


def setup(out: Outside) -> None:
    out.file(out.work / "private" / "deep" / "key")


def attempt() -> None:
    read("private/deep/key")
