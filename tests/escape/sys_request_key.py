"""The default profile refuses request_key(2), which makes the kernel run /sbin/request-key outside."""

from __future__ import annotations

from tests.probes.inside import reaches_the_kernel


def attempt() -> None:
    reaches_the_kernel("request_key", None, None, None, 0)
