"""The memory of the init process of the command's pid namespace cannot be opened, not to read and not to write."""

from __future__ import annotations

import os

from tests.probes.inside import BELOW_ANOTHER_INIT

PREFIX = BELOW_ANOTHER_INIT


def needs() -> None:
    from tests import support

    support.need_userns()


def attempt() -> None:
    os.close(os.open("/proc/1/mem", os.O_RDONLY))
