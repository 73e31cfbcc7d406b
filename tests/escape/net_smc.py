"""With TCP granted, no socket of AF_SMC, which is TCP by another name, can be made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.probes.inside import family_reaches_the_kernel

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = ("--connect", "tcp:{other}")
REFUSALS = ("EAFNOSUPPORT",)
AF_SMC = 43


def setup(out: Outside) -> None:
    out.values["other"] = out.listen().getsockname()[1]


def attempt() -> None:
    family_reaches_the_kernel(AF_SMC)
