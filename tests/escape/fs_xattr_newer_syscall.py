"""The read-only profile does not let extended attributes be set by setxattrat(2) either."""

from __future__ import annotations

from tests.probes.inside import reaches_the_kernel

SANDRUN = ("-p", "read-only")
REFUSALS = ("ENOSYS",)
AT_FDCWD = -100


def needs() -> None:
    from tests import support

    support.need_linux(6, 13)


def attempt() -> None:
    reaches_the_kernel("setxattrat", AT_FDCWD, b".", 0, None, None, 16)
