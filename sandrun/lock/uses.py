"""What runs used, as far as a record of a run can tell: what they reached through the relay or the broker, and what of
the network was refused to them.

Nothing else is known of a run without watching its system calls. The texts of refusals can be chosen by the command.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from sandrun import traffic
from sandrun.errors import SandrunError
from sandrun.profile.bad import escaped, reason

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sandrun.traffic import Traffic

MOST_BYTES = 16 << 20
BUSY = "limit"
"""A refusal that depends on how much is going on at once, and not on what is asked for."""


class Uses(NamedTuple):
    """`connected`: endpoints as the profile spells them. `refused`: what was asked for in vain (`name`, `connect`,
    `udp` or `address`, and of what). Both sorted."""

    connected: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()


def unite(first: Uses | None, second: Uses | None) -> Uses | None:
    """What either had; None if both are."""
    if first is None or second is None:
        return first or second
    return Uses(*(tuple(sorted({*ours, *theirs})) for ours, theirs in zip(first, second, strict=True)))


def news(uses: Uses, known: Uses) -> list[str]:
    """One line for each use that is not known."""
    return [
        *(f"+ connected to {endpoint}" for endpoint in uses.connected if endpoint not in known.connected),
        *(f"+ was refused: {what}" for what in uses.refused if what not in known.refused),
    ]


def of_record(record: bytes | None) -> tuple[Uses, str]:
    """What the record of the relay or the broker says, and why that may not be all ("" if it is).

    None is the record of a run that had neither.
    """
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


def of_report(path: str) -> Uses:
    """What the JSON that `--report` wrote says. Raises SandrunError, also for a run that it does not tell all of."""
    try:
        with open(path, "rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise SandrunError(f"cannot read the report: {escaped(path)}: {reason(error)}") from None
    uses, gap = of_record(_network(data, escaped(path)))
    if gap:
        raise SandrunError(f"cannot use the report: {escaped(path)}: {gap}")
    return uses


def _network(data: bytes, shown: str) -> bytes | None:
    """The record of the network in a report, as the relay left it."""
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
    return None if network is None else json.dumps(network).encode()
