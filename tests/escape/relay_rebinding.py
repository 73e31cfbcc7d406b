"""Granted names that lead to the loopback, to private addresses or to metadata services are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.probes.inside import Blocked, fetch

if TYPE_CHECKING:
    from tests.escape.outside import Outside

NAMES = ("loopback.test", "private.test", "metadata.test", "mapped.test", "zero.test")
SANDRUN = tuple(word for name in NAMES for word in ("--connect", f"{name}:80"))


def needs() -> None:
    from tests.integration import internet

    internet.need_internet()


def setup(out: Outside) -> None:
    from tests.integration import internet

    internet.around(out).tell("127.0.0.1", internet.PRIVATE, internet.METADATA)


def attempt() -> None:
    refused = []
    for name in NAMES:
        try:
            fetch(name)
        except (ConnectionRefusedError, ConnectionResetError):
            refused.append(name)
    if len(refused) == len(NAMES):
        raise Blocked("all of them are refused")
    if refused:
        raise RuntimeError(f"only {refused} are refused")


def unharmed(out: Outside) -> bool:
    return not out.kept.met
