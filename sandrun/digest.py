"""SHA-256 without the rest of hashlib, 3 ms of a start, where Python has it apart. LIGHT."""

from __future__ import annotations

import sys


def sha256(data: bytes) -> bytes:
    """The digest of some bytes."""
    try:
        if sys.version_info >= (3, 12):
            from _sha2 import sha256 as algorithm  # type: ignore[import-not-found]  # noqa: PLC0415
        else:
            from _sha256 import sha256 as algorithm  # type: ignore[import-not-found]  # noqa: PLC0415
    except ImportError:
        from hashlib import sha256 as algorithm  # noqa: PLC0415
    return bytes(algorithm(data).digest())
