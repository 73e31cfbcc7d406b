"""The default profile refuses perf_event_open(2)."""

from __future__ import annotations

from tests.probes.inside import reaches_the_kernel


def attempt() -> None:
    reaches_the_kernel("perf_event_open", None, 0, -1, -1, 0xFFFF, answers=("EINVAL", "EFAULT"))
