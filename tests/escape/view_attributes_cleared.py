"""What is never to be written does not lose its attribute by mount_setattr(2), nor in a user namespace of the command's own."""

from __future__ import annotations

import os
import struct
from contextlib import suppress
from typing import TYPE_CHECKING

from tests.probes.inside import syscall

if TYPE_CHECKING:
    from tests.escape.outside import Outside

PREFIX = (
    "unshare", "--user", "--map-root-user", "--mount",
    "sh", "-c", 'mount --bind public public && mount -o remount,bind,ro public && exec "$@"', "sh",
)  # fmt: skip
SANDRUN = ("-p", "none", "-x", "@system", "-w", "{work}", "--deny-write", "{work}/public")
CLONE_NEWUSER, CLONE_NEWNS, MOUNT_ATTR_RDONLY = 0x10000000, 0x00020000, 1


def needs() -> None:
    from tests import support

    support.need_userns()


def setup(out: Outside) -> None:
    out.kept = out.file(out.work / "public" / "file", "as it was")


def attempt() -> None:
    attributes = struct.pack("=QQQQ", 0, MOUNT_ATTR_RDONLY, 0, 0)
    path = os.fsencode(os.getcwd()) + b"/public"
    for _ in range(2):
        with suppress(OSError):
            syscall("mount_setattr", -100, path, 0, attributes, len(attributes))
        with suppress(OSError):
            syscall("unshare", CLONE_NEWUSER | CLONE_NEWNS)
    with open("public/file", "w", encoding="ascii") as file:
        file.write("changed")


def unharmed(out: Outside) -> bool:
    return bool(out.kept.read_text() == "as it was")
