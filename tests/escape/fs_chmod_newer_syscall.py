"""The read-only profile does not let modes be changed by fchmodat2(2), newer than most filters, either."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.probes.inside import syscall

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = ("-p", "read-only")
REFUSALS = ("ENOSYS",)
AT_FDCWD = -100


def needs() -> None:
    from tests import support

    support.need_linux(6, 6)


def setup(out: Outside) -> None:
    out.kept = out.file(out.work / "tool", mode=0o600)


def attempt() -> None:
    syscall("fchmodat2", AT_FDCWD, b"tool", 0o4755, 0)


def unharmed(out: Outside) -> bool:
    return bool(out.kept.stat().st_mode & 0o7777 == 0o600)
