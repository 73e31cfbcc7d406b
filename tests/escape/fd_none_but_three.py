"""The command starts with descriptors 0 to 2 only: nothing of the launcher's own gets in."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.probes.inside import Blocked

if TYPE_CHECKING:
    from tests.escape.outside import Outside


def setup(out: Outside) -> None:
    for end in out.pipe():
        out.inherit(end)


def attempt() -> None:
    for fd in range(3, 4096):
        try:
            os.fstat(fd)
        except OSError:
            continue
        return
    raise Blocked("nothing above 2")
