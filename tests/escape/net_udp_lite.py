"""With TCP granted, no UDP-Lite socket can be made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.probes.inside import reaches_the_kernel

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = ("--connect", "tcp:{other}")
AF_INET, SOCK_DGRAM, IPPROTO_UDPLITE = 2, 2, 136


def setup(out: Outside) -> None:
    out.values["other"] = out.listen().getsockname()[1]


def attempt() -> None:
    reaches_the_kernel("socket", AF_INET, SOCK_DGRAM, IPPROTO_UDPLITE, answers=("EPROTONOSUPPORT",))
