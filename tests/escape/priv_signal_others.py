"""Root without capabilities cannot kill another user's process, even where nothing isolates processes."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside

WHO = ("root",)
SANDRUN = ("--isolate", "false")


def setup(out: Outside) -> None:
    from dataclasses import replace

    from tests import support

    out.kept = out.victim(who=replace(out.who, uid=support.USER_UID, gid=support.USER_UID), cwd="/")
    out.arguments += [out.kept.pid]


def attempt(pid: str) -> None:
    os.kill(int(pid), signal.SIGKILL)


def unharmed(out: Outside) -> bool:
    from tests.escape.outside import wait_until

    return not wait_until(lambda: out.kept.poll() is not None, 0.2)
