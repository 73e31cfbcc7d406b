"""traffic: what went through the relay and what it refused, from the record that it left.

The relay spoke with the command, so its record is not believed further than it has the right shape: anything else is
no record. Its texts can be chosen by the command, as a host name is; they are for `report.printable`.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

LONGEST_TEXT = 300
MOST_ROWS = 5000
SHOWN = 5
"""Refusals that the line at the end of a failed run names."""
_UNSEEN = ("sent", "received")
"""They may be null: the broker makes connections, and nothing that goes over them passes through it."""
_COLUMNS: dict[str, dict[str, type[Any]]] = {
    "endpoints": {"endpoint": str, "connections": int, "failed": int, "error": str, "sent": int, "received": int},
    "refused": {"what": str, "target": str, "reason": str, "count": int},
    "published": {"port": int, "connections": int},
}


class Traffic(NamedTuple):
    """Rows by kind; the keys of a row are those of the report. `others` counts refusals beyond those listed."""

    endpoints: tuple[dict[str, Any], ...]
    refused: tuple[dict[str, Any], ...]
    published: tuple[dict[str, Any], ...]
    others: int


def read(record: bytes) -> Traffic | None:
    """The relay's record; None if it left none, or one that is not as it must be."""
    try:
        document = json.loads(record)
        rows = {name: tuple(_row(row, columns) for row in document[name]) for name, columns in _COLUMNS.items()}
        others = _checked(document["others"], int)
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    if any(len(found) > MOST_ROWS for found in rows.values()):
        return None
    return Traffic(**rows, others=others)


def _row(row: Any, columns: dict[str, type[Any]]) -> dict[str, Any]:
    return {
        name: None if name in _UNSEEN and row[name] is None else _checked(row[name], kind)
        for name, kind in columns.items()
    }


def _checked(value: Any, kind: type[Any]) -> Any:
    if type(value) is not kind or (value < 0 if kind is int else len(value) > LONGEST_TEXT):
        raise ValueError(value)
    return value


def document(record: bytes) -> dict[str, Any]:
    """What `--report` holds of it, with `"complete": false` if the relay left no record."""
    traffic = read(record)
    if traffic is None:
        return {"complete": False, "endpoints": [], "refused": [], "published": [], "others": 0}
    return {"complete": True, **{name: list(getattr(traffic, name)) for name in _COLUMNS}, "others": traffic.others}


def ending(record: bytes, *, failed: bool) -> list[str]:
    """Lines for stderr: that the relay died, and what a command that failed did not get."""
    traffic = read(record)
    if traffic is None:
        return ["the relay ended before the command did: it had no network from then on"]
    if not failed:
        return []
    lines = [f"no connection to {row['endpoint']}: {row['error']}" for row in traffic.endpoints if row["error"]][:SHOWN]
    if not traffic.refused:
        return lines
    named = [f"{row['what']} {row['target']}" for row in traffic.refused[:SHOWN]]
    more = len(traffic.refused) - len(named) + traffic.others
    return [*lines, f"the network refused: {', '.join(named)}{f', and {more} more' if more else ''}"]
