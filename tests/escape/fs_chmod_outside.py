"""Where something is writable, the mode of a file outside of it cannot be changed."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = ("-p", "none", "-x", "@system", "-w", "{work}", "-r", "{box}")


def needs() -> None:
    from tests import support

    support.need_userns()


def setup(out: Outside) -> None:
    out.kept = out.secret()
    out.arguments += [out.kept]


def attempt(path: str) -> None:
    os.chmod(path, 0o666)


def unharmed(out: Outside) -> bool:
    return stat.S_IMODE(out.kept.stat().st_mode) == 0o600
