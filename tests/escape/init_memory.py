"""The memory of the init process of the command's pid namespace cannot be opened, not to read and not to write."""

from __future__ import annotations

import os

PREFIX = (
    "unshare",
    "--user",
    "--map-current-user",
    "--pid",
    "--fork",
    "--mount-proc",
    "sh",
    "-c",
    '"$@"; exit $?',
    "sh",
)


def needs() -> None:
    from tests import support

    support.need_userns()


def attempt() -> None:
    os.close(os.open("/proc/1/mem", os.O_RDONLY))
