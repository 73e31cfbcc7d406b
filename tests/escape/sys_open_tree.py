"""The default profile refuses the file descriptors of mounts, open_tree(2)."""

from __future__ import annotations

from tests.probes.inside import reaches_the_kernel


def attempt() -> None:
    reaches_the_kernel("open_tree", -1, None, 0)
