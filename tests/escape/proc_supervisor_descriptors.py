"""The supervisor's descriptors can be neither identified nor opened in /proc (root may see their numbers)."""

from __future__ import annotations

import os


def attempt() -> None:
    try:
        os.readlink(f"/proc/{os.getppid()}/fd/2")
    except PermissionError:
        os.close(os.open(f"/proc/{os.getppid()}/fd/2", os.O_WRONLY))
