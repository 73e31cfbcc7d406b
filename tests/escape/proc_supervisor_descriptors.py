"""The supervisor's descriptors cannot be listed or opened in /proc."""

from __future__ import annotations

import os


def attempt() -> None:
    os.listdir(f"/proc/{os.getppid()}/fd")
