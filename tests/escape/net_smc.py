"""With TCP granted, no socket of AF_SMC, which is TCP by another name, can be made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.probes.inside import reaches_the_kernel

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = ("--connect", "tcp:{other}")
AF_SMC, SOCK_STREAM = 43, 1


def setup(out: Outside) -> None:
    out.values["other"] = out.listen().getsockname()[1]


def attempt() -> None:
    reaches_the_kernel("socket", AF_SMC, SOCK_STREAM, 0, answers=("EAFNOSUPPORT",))
