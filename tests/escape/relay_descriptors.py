"""The sockets of a relay cannot be taken from it, not even by root with the syscall allowed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.probes.inside import syscall

if TYPE_CHECKING:
    from tests.escape.outside import Outside

WHO = ("root",)
SANDRUN = ("--connect", "allowed.test:80", "--allow-syscall", "pidfd_getfd")
CONTROL = 3


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
    os.close(syscall("pidfd_getfd", os.pidfd_open(int(pid)), CONTROL, 0))
