"""A denied file in a writable tree cannot be read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.probes.inside import read

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = ("-p", "none", "-x", "@system", "-w", "{work}", "--deny", "{work}/private/key")


def needs() -> None:
    from tests import support

    support.need_userns()


def setup(out: Outside) -> None:
    out.file(out.work / "private" / "key")


def attempt() -> None:
    read("private/key")
