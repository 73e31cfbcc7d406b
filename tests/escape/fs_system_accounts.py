"""Root cannot open /etc/passwd for writing under the default profile."""

from __future__ import annotations

import os

WHO = ("root",)


def attempt() -> None:
    os.close(os.open("/etc/passwd", os.O_WRONLY | os.O_APPEND))
