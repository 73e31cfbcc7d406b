"""The supervisor's descriptors (its status pipe) cannot be taken by pidfd_getfd(2)."""

from __future__ import annotations

import os

from tests.probes.inside import supervisor, syscall

BARE = True


def attempt() -> None:
    syscall("pidfd_getfd", os.pidfd_open(supervisor()), 2, 0)
