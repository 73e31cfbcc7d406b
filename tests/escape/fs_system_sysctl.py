"""Root, whom the modes below /proc/sys let in without any capability, cannot open core_pattern for writing."""

from __future__ import annotations

import os

WHO = ("root",)


def attempt() -> None:
    os.close(os.open("/proc/sys/kernel/core_pattern", os.O_WRONLY))
