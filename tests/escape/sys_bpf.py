"""The default profile refuses bpf(2) before the kernel looks at it."""

from __future__ import annotations

from tests.probes.inside import reaches_the_kernel

BPF_OBJ_GET = 7


def attempt() -> None:
    reaches_the_kernel("bpf", BPF_OBJ_GET, None, 8)
