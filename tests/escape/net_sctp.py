"""With TCP granted, no SCTP socket can be made; the kernel is not even asked whether it knows SCTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.probes.inside import reaches_the_kernel

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = ("--connect", "tcp:{other}")
AF_INET, SOCK_STREAM, SOCK_SEQPACKET, IPPROTO_SCTP = 2, 1, 5, 132


def setup(out: Outside) -> None:
    out.values["other"] = out.listen().getsockname()[1]


def attempt() -> None:
    answers = ("EPROTONOSUPPORT", "ESOCKTNOSUPPORT")
    try:
        reaches_the_kernel("socket", AF_INET, SOCK_SEQPACKET, IPPROTO_SCTP, answers=answers)
    except PermissionError:
        reaches_the_kernel("socket", AF_INET, SOCK_STREAM, IPPROTO_SCTP, answers=answers)
