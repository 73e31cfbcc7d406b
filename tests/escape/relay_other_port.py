"""A host granted on one port cannot be reached on another one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.probes.inside import fetch

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = ("--connect", "allowed.test:443")
REFUSALS = ("ECONNREFUSED", "ECONNRESET")


def needs() -> None:
    from tests.integration import internet

    internet.need_internet()


def setup(out: Outside) -> None:
    from tests.integration import internet

    internet.around(out).tell(internet.ALLOWED)


def attempt() -> None:
    fetch("allowed.test")


def unharmed(out: Outside) -> bool:
    return not out.kept.met
