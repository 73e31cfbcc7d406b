"""The init process of the command's pid namespace has no descriptor to take, though the profile allows pidfd_getfd(2)."""

from __future__ import annotations

import os

from tests.probes.inside import BELOW_ANOTHER_INIT, syscall

SANDRUN = ("--allow-syscall", "pidfd_getfd")
PREFIX = BELOW_ANOTHER_INIT


def needs() -> None:
    from tests import support

    support.need_userns()


def attempt() -> None:
    syscall("pidfd_getfd", os.pidfd_open(1), 2, 0)
