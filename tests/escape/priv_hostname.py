"""Root cannot change the host's name."""

from __future__ import annotations

from tests.probes.inside import reaches_the_kernel

WHO = ("root",)


def attempt() -> None:
    reaches_the_kernel("sethostname", None, -1, answers=("EINVAL",))
