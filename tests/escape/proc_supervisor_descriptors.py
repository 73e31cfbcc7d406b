"""The supervisor's descriptors can be neither identified nor opened in /proc (root may see their numbers)."""

from __future__ import annotations

import os

from tests.probes.inside import supervisor


def attempt() -> None:
    try:
        os.readlink(f"/proc/{supervisor()}/fd/2")
    except PermissionError:
        os.close(os.open(f"/proc/{supervisor()}/fd/2", os.O_WRONLY))
