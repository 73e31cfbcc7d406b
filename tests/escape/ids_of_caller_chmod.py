"""As another user, a command cannot open its caller's file by chmod(2), although its mode is not protected otherwise."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside

WHO = ("user",)
SANDRUN = ("-p", "none", "-x", "@all", "-w", "@all", "--user", "nobody")


def needs() -> None:
    from tests import support

    support.need_ranges()


def setup(out: Outside) -> None:
    from tests import support

    out.who = support.ranged(out.who)
    out.kept = out.file(out.work / "file")


def attempt() -> None:
    os.chmod("file", 0o644)


def unharmed(out: Outside) -> bool:
    return stat.S_IMODE(out.kept.stat().st_mode) == 0o600
