"""A granted name that leads to the loopback only later is refused from then on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.probes.inside import Blocked, fetch

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = ("--connect", "turning.test:80")
REFUSALS = ("ECONNRESET",)
SECONDS = 30
"""Longer than an answer is kept, also for whoever needs seconds to fetch it."""


def needs() -> None:
    from tests.integration import internet

    internet.need_internet()


def setup(out: Outside) -> None:
    from tests.integration import internet

    net = internet.around(out)
    net.tell("127.0.0.1")
    net.tell(internet.ALLOWED, text="an ordinary place")


def attempt() -> None:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        try:
            fetch("turning.test")
        except RuntimeError:
            time.sleep(0.2)
        else:
            return
    raise Blocked("the ordinary place only")


def unharmed(out: Outside) -> bool:
    return "127.0.0.1:80" not in out.kept.met
