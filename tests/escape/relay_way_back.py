"""The supervisor, which a sandbox with a relay may see, is no way back into the network namespace outside."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from tests.probes.inside import Blocked, fetch, supervisor, syscall

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = ("-p", "none", "-x", "@system", "-r", "/proc", "--connect", "allowed.test:80")
REFUSALS = ("ECONNREFUSED", "ECONNRESET", "ENETUNREACH")
CLONE_NEWNET = 0x40000000


def needs() -> None:
    from tests.integration import internet

    internet.need_internet()


def setup(out: Outside) -> None:
    from tests.integration import internet

    internet.around(out).tell(internet.OTHER)


def attempt() -> None:
    with contextlib.suppress(OSError, Blocked):
        syscall("setns", os.open(f"/proc/{supervisor()}/ns/net", os.O_RDONLY), CLONE_NEWNET)
    fetch("93.184.216.35")


def unharmed(out: Outside) -> bool:
    return not out.kept.met
