"""With TCP granted, a protocol with bits above the 32 that the kernel looks at brings no Multipath TCP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.probes.inside import reaches_the_kernel

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = ("--connect", "tcp:{other}")
AF_INET, SOCK_STREAM, IPPROTO_MPTCP = 2, 1, 262


def setup(out: Outside) -> None:
    out.values["other"] = out.listen().getsockname()[1]


def attempt() -> None:
    reaches_the_kernel("socket", AF_INET, SOCK_STREAM, IPPROTO_MPTCP | 1 << 32, answers=("EPROTONOSUPPORT",))
