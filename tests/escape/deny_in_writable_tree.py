"""A deny that would break the writable tree around it, as nothing could be made there, is refused and not weakened."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.probes.inside import read

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = ("-p", "none", "-x", "@system", "-w", "{work}", "--deny", "{work}/private/key")
STATUSES = (125,)
SAYS = "needs a mount mask"


def setup(out: Outside) -> None:
    out.file(out.work / "private" / "key")


def attempt() -> None:
    read("private/key")
