"""Beside a host granted by name, no address can be connected to on the same port."""

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

    internet.around(out).tell(internet.OTHER)


def attempt() -> None:
    fetch("93.184.216.35")


def unharmed(out: Outside) -> bool:
    return not out.kept.met
