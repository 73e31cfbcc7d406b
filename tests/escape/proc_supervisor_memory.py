"""The supervisor's memory cannot be opened in /proc, for reading or for writing."""

from __future__ import annotations

import os

from tests.probes.inside import supervisor

BARE = True


def attempt() -> None:
    try:
        os.close(os.open(f"/proc/{supervisor()}/mem", os.O_RDWR))
    except PermissionError:
        os.close(os.open(f"/proc/{supervisor()}/mem", os.O_RDONLY))
