"""What runs used, as far as a record of a run can tell: what they reached through the relay or the broker, what of the
network was refused to them, and, of a run that was explained, what else was.

The texts of refusals can be chosen by the command.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, NamedTuple

from sandrun import traffic
from sandrun.errors import SandrunError
from sandrun.lock.denied import gap, of_explained
from sandrun.profile.bad import escaped, reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sandrun.lock.denied import Places
    from sandrun.traffic import Traffic

MOST_BYTES = 16 << 20
BUSY = "limit"
"""A refusal that depends on how much is going on at once, and not on what is asked for."""


class Uses(NamedTuple):
    """`connected`: endpoints as the profile spells them. `refused`: what was asked for in vain (`name`, `connect`,
    `udp` or `address`, and of what). `denied`: acts and targets that rules refused; None if nobody looked. All sorted.
    """

    connected: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    denied: tuple[str, ...] | None = None


def unite(first: Uses | None, second: Uses | None) -> Uses | None:
    """What either had; None if both are."""
    if first is None or second is None:
        return first or second
    denied = None if first.denied is None and second.denied is None else (*(first.denied or ()), *(second.denied or ()))
    return Uses(
        _sorted((*first.connected, *second.connected)),
        _sorted((*first.refused, *second.refused)),
        None if denied is None else _sorted(denied),
    )


def news(uses: Uses, known: Uses) -> list[str]:
    """One line for each use that is not known. What was denied counts if it was looked at in both."""
    denied = () if uses.denied is None or known.denied is None else uses.denied
    return [
        *(f"+ connected to {endpoint}" for endpoint in uses.connected if endpoint not in known.connected),
        *(f"+ was refused: {what}" for what in uses.refused if what not in known.refused),
        *(f"+ was denied: {what}" for what in denied if what not in (known.denied or ())),
    ]


def of_run(record: bytes | None, explained: Mapping[str, Any] | None, places: Places) -> tuple[Uses, str]:
    """What one run used, and why that may not be all ("" if it is).

    `record` is what the relay or the broker left, None if there was neither. `explained` is the document of an explained
    run. Raises ValueError if it has another shape.
    """
    uses, missing = _of_record(record)
    if explained is None:
        return uses, missing
    return uses._replace(denied=of_explained(explained, places)), missing or gap(explained)


def _of_record(record: bytes | None) -> tuple[Uses, str]:
    if record is None:
        return Uses(), ""
    found = traffic.read(record)
    if found is None:
        return Uses(), "the relay left no record"
    return _uses(found), f"{found.others} more refusals than a record lists" if found.others else ""


def _uses(found: Traffic) -> Uses:
    rows = (f"{row['what']} {row['target']}" for row in found.refused if row["what"] != BUSY)
    return Uses(_sorted(row["endpoint"] for row in found.endpoints), _sorted(rows))


def _sorted(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(texts)))


def of_report(path: str, places: Places) -> Uses:
    """What the JSON that `--report` wrote says of a run that was at these places.

    Raises SandrunError, also for a run that it does not tell all of.
    """
    try:
        # A fifo that nobody writes to is empty then, and not waited for.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        os.set_blocking(fd, True)
        with open(fd, "rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise SandrunError(f"cannot read the report: {escaped(path)}: {reason(error)}") from None
    try:
        uses, missing = of_run(*_run(data, escaped(path)), places)
    except ValueError as error:
        raise SandrunError(f"cannot use the report: {escaped(path)}: {error}") from None
    if missing:
        raise SandrunError(f"cannot use the report: {escaped(path)}: {missing}")
    return uses


def _run(data: bytes, shown: str) -> tuple[bytes | None, Mapping[str, Any] | None]:
    """The record of the network in a report, as the relay left it, and what was explained."""
    try:
        document: Any = json.loads(data) if len(data) <= MOST_BYTES else None
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or document.get("sandrun") != 1 or "outcome" not in document:
        raise SandrunError(f"cannot use the report: {shown}: not a record of a run", hint="sandrun --report writes one")
    outcome = document["outcome"]
    if not isinstance(outcome, dict) or not document.get("started"):
        raise SandrunError(f"cannot use the report: {shown}: the command did not run")
    network = outcome.get("network")
    explained = document.get("explained")
    if explained is not None and not isinstance(explained, dict):
        raise SandrunError(f"cannot use the report: {shown}: not a record of a run")
    return None if network is None else json.dumps(network).encode(), explained
