"""The default profile refuses userfaultfd(2)."""

from __future__ import annotations

from tests.probes.inside import reaches_the_kernel

UFFD_USER_MODE_ONLY = 1


def attempt() -> None:
    reaches_the_kernel("userfaultfd", UFFD_USER_MODE_ONLY, answers=())
