"""A host granted by name gives no way to the services of this machine's loopback interface."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.probes.inside import fetch

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = ("--connect", "allowed.test:80")
REFUSALS = ("ECONNREFUSED", "ECONNRESET")


def needs() -> None:
    from tests.integration import internet

    internet.need_internet()


def setup(out: Outside) -> None:
    from tests.integration import internet

    internet.around(out).tell("127.0.0.1")


def attempt() -> None:
    fetch("127.0.0.1")


def unharmed(out: Outside) -> bool:
    return not out.kept.met
