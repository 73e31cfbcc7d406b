"""A denied file inside a granted tree cannot be read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.probes.inside import read

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = ("-p", "none", "-x", "@system", "-r", "{work}", "--deny", "{work}/private/key")


def setup(out: Outside) -> None:
    out.file(out.work / "private" / "key")
    out.file(out.work / "private" / "cert")


def attempt() -> None:
    with open("private/cert", encoding="utf-8") as file:
        file.read()
    read("private/key")
