"""Bits above the 32 that name namespaces do not smuggle unshare(2) past the filter."""

from __future__ import annotations

from tests.probes.inside import reaches_the_kernel

CLONE_NEWUSER = 0x10000000


def attempt() -> None:
    reaches_the_kernel("unshare", CLONE_NEWUSER | 1 << 40, answers=("EINVAL",))
