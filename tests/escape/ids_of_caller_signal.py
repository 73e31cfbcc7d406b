"""As another user, a command cannot signal its caller's processes, also where nothing isolates processes."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside

WHO = ("user",)
SANDRUN = ("-p", "none", "-x", "@all", "-w", "@all", "--isolate", "false", "--user", "nobody")


def needs() -> None:
    from tests import support

    support.need_ranges()


def setup(out: Outside) -> None:
    from tests import support

    out.kept = out.victim()
    out.who = support.ranged(out.who)
    out.arguments += [out.kept.pid]


def attempt(pid: str) -> None:
    os.kill(int(pid), signal.SIGKILL)


def unharmed(out: Outside) -> bool:
    from tests.escape.outside import wait_until

    return not wait_until(lambda: out.kept.poll() is not None, 0.2)
