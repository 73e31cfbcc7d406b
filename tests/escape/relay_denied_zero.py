"""A denial of the loopback holds for a name that leads to 0.0.0.0, even where every host is granted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.probes.inside import fetch

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = ("--connect", "tcp:80", "--connect", "other.test:443", "--deny-endpoint", "127.0.0.0/8:80")
REFUSALS = ("ECONNREFUSED", "ECONNRESET")


def needs() -> None:
    from tests.integration import internet

    internet.need_internet()


def setup(out: Outside) -> None:
    from tests.integration import internet

    internet.around(out).tell("127.0.0.1")


def attempt() -> None:
    fetch("zero.test")


def unharmed(out: Outside) -> bool:
    return not out.kept.met
