"""The read-only profile does not let extended attributes be set."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = ("-p", "read-only")


def setup(out: Outside) -> None:
    from tests import support

    out.kept = out.file(out.work / "tool")
    supported = False
    with contextlib.suppress(OSError):
        os.setxattr(out.kept, "user.probe", b"1")
        os.removexattr(out.kept, "user.probe")
        supported = True
    support.need(supported, "extended attributes on the file system of /tmp")


def attempt() -> None:
    os.setxattr("tool", "user.planted", b"1")


def unharmed(out: Outside) -> bool:
    return not os.listxattr(out.kept)
