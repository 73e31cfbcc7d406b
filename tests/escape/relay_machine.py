"""A granted name that leads to an address of this machine itself is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.probes.inside import fetch

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = ("--connect", "machine.test:80")
REFUSALS = ("ECONNREFUSED", "ECONNRESET")


def needs() -> None:
    from tests.integration import internet

    internet.need_internet()


def setup(out: Outside) -> None:
    from tests.integration import internet

    internet.around(out).tell(internet.MACHINE)


def attempt() -> None:
    fetch("machine.test")


def unharmed(out: Outside) -> bool:
    return not out.kept.met
