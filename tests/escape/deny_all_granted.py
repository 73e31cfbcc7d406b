"""A deny holds where everything is granted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.probes.inside import read

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = ("-p", "none", "-x", "/", "--deny", "{work}/private")


def setup(out: Outside) -> None:
    out.file(out.work / "private" / "key")


def attempt() -> None:
    read("private/key")
