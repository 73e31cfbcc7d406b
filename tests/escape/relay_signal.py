"""The relay of a sandbox of the same user cannot be signalled."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = ("--connect", "allowed.test:80")


def needs() -> None:
    from tests.integration import internet

    internet.need_internet()


def setup(out: Outside) -> None:
    from tests.integration import internet
    from tests.integration.relaying import relay_of

    internet.around(out)
    argv = (*out.who.sandrun, "--connect", "allowed.test:80", "--", "sleep", "60")
    victim = out.keep(out.who.popen(argv, cwd=out.work))
    out.exit.callback(victim.terminate)
    out.kept = relay_of(victim)
    out.arguments += [out.kept]


def attempt(pid: str) -> None:
    os.kill(int(pid), signal.SIGKILL)


def unharmed(out: Outside) -> bool:
    from tests.escape.outside import is_alive, wait_until

    return not wait_until(lambda: not is_alive(out.kept), 0.2)
