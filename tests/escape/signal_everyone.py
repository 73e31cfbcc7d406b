"""kill(2) of -1, which signals everyone it can, reaches no process outside."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from tests.probes.inside import Blocked

if TYPE_CHECKING:
    from tests.escape.outside import Outside

# In a pid namespace of the test's own, "everyone" is the process that the shell starts here as the victim.
_VICTIM = 'sleep 60 & "$@"; status=$?; kill $!; wait $!; echo $? >victim; exit $status'
PREFIX = ("unshare", "--user", "--map-current-user", "--pid", "--fork", "--mount-proc", "sh", "-c", _VICTIM, "sh")
KILLED_BY_ATTEMPT, KILLED_BY_SHELL = "138", "143"
CONTROL_STATUS = 128 + signal.SIGUSR1
STATUSES = (0, 3)


def needs() -> None:
    from tests import support

    support.need_landlock(6)
    support.need_userns()


def attempt() -> None:
    if os.getpid() > 50:
        raise RuntimeError("this is the host's pid namespace: everyone would be hit")
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        os.kill(-1, signal.SIGUSR1)
    except ProcessLookupError:
        raise Blocked("nobody to signal") from None


def unharmed(out: Outside) -> bool:
    return (out.work / "victim").read_text().strip() != KILLED_BY_ATTEMPT
