"""A deny wins over a narrower grant of the same file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.probes.inside import read

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = ("-p", "none", "-x", "@system", "--deny", "{work}/private", "-r", "{work}/private/key", "-r", "{work}")


def setup(out: Outside) -> None:
    out.file(out.work / "private" / "key")


def attempt() -> None:
    read("private/key")
