"""Root without capabilities cannot take more than its share of the processor."""

from __future__ import annotations

import os

WHO = ("root",)


def attempt() -> None:
    os.nice(-1)
