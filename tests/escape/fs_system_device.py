"""Root cannot open the kernel's log, a disk, or any device but the few of @devices."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside

WHO = ("root",)


def setup(out: Outside) -> None:
    from tests import support

    with open("/proc/partitions", encoding="ascii") as table:
        disks = [line.split()[3] for line in table if line.split()[:1] not in ([], ["major"])]
    for name in (*disks, "kmsg", "mem", "loop-control", "fuse", "net/tun", "vsock"):
        with contextlib.suppress(OSError):
            os.close(os.open(f"/dev/{name}", os.O_RDONLY | os.O_NONBLOCK))
            out.arguments += [f"/dev/{name}"]
            return
    support.need(False, "no device that root can open")


def attempt(path: str) -> None:
    os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
