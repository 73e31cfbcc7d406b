"""Another process of the same user cannot be killed."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside


BARE = True


def needs() -> None:
    from tests import support

    support.need_landlock(6)


def setup(out: Outside) -> None:
    out.kept = out.victim()
    out.arguments += [out.kept.pid]


def attempt(pid: str) -> None:
    os.kill(int(pid), signal.SIGKILL)


def unharmed(out: Outside) -> bool:
    from tests.escape.outside import wait_until

    return not wait_until(lambda: out.kept.poll() is not None, 0.2)
