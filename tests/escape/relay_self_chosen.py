"""The addresses that stand for names inside lead nowhere if they stand for none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.probes.inside import Blocked, fetch

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = ("--connect", "*.allowed.test:80", "--private", "127.0.0.0/8")


def needs() -> None:
    from tests.integration import internet

    internet.need_internet()


def setup(out: Outside) -> None:
    from tests.integration import internet

    internet.around(out).tell("127.64.1.77", "127.96.0.1")


def attempt() -> None:
    for address in ("127.64.1.77", "127.96.0.1"):
        try:
            fetch(address)
        except (ConnectionRefusedError, ConnectionResetError):
            continue
        return
    raise Blocked("both are refused")


def unharmed(out: Outside) -> bool:
    return not out.kept.met
