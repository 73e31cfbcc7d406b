"""What covers a denied directory cannot be unmounted, nor in mount namespaces of the command's own."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from tests.probes.inside import read, syscall

if TYPE_CHECKING:
    from tests.escape.outside import Outside

PREFIX = (
    "unshare", "--user", "--map-root-user", "--mount", "sh", "-c", 'mount -t tmpfs none private && exec "$@"', "sh",
)  # fmt: skip
SANDRUN = ("-p", "none", "-x", "@system", "-w", "{work}", "--deny", "{work}/private")
CLONE_NEWUSER, CLONE_NEWNS, MNT_DETACH = 0x10000000, 0x00020000, 2


def needs() -> None:
    from tests import support

    support.need_userns()


def setup(out: Outside) -> None:
    out.file(out.work / "private" / "key")


def attempt() -> None:
    for _ in range(3):
        with suppress(OSError):
            syscall("umount2", b"private", MNT_DETACH)
        with suppress(OSError):
            syscall("unshare", CLONE_NEWUSER | CLONE_NEWNS)
    read("private/key")
