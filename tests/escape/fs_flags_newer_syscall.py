"""The read-only profile does not let file flags be set by file_setattr(2) either."""

from __future__ import annotations

from tests.probes.inside import reaches_the_kernel

SANDRUN = ("-p", "read-only")
REFUSALS = ("ENOSYS",)
AT_FDCWD = -100


def needs() -> None:
    from tests import support

    support.need_linux(6, 17)


def attempt() -> None:
    reaches_the_kernel("file_setattr", AT_FDCWD, b".", None, 24, 0)
