"""The report of a confined test on its way out: made by pytest in the confined process, and read here as what a stranger wrote.

It is JSON of one shape, bounded in size, and nothing of it names what is to be imported or called.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest

MOST = 32 << 20
"""Bytes of a report with all that was captured."""
NUMBER = (int, float)


class Malformed(ValueError):  # noqa: N818 (it says what is wrong with what was sent)
    """What was sent is no report."""


class Or(tuple[Any, ...]):
    """One of these shapes."""

    __slots__ = ()


# A type is a value of it, a dict has exactly these members, a list any number of its one shape, a tuple just these.
_NOTHING = type(None)
_PLACE = Or((_NOTHING, {"path": str, "lineno": int, "message": str}))
_LINES = {
    "lines": [str],
    "reprfuncargs": Or((_NOTHING, {"args": [(str, str)]})),
    "reprlocals": Or((_NOTHING, {"lines": [str]})),
    "reprfileloc": _PLACE,
    "style": str,
}
_ENTRY = Or(({"type": "ReprEntry", "data": _LINES}, {"type": "ReprEntryNative", "data": {"lines": [str]}}))
_TRACEBACK = {"reprentries": [_ENTRY], "extraline": Or((_NOTHING, str)), "style": str}
_CHAIN = Or((_NOTHING, [(_TRACEBACK, _PLACE, Or((_NOTHING, str)))]))
_EXCEPTION = {"reprcrash": _PLACE, "reprtraceback": _TRACEBACK, "sections": [(str, str, str)], "chain": _CHAIN}
_ATTEMPT = {"error": str, "path": str, "writes": bool, "event": str}
_RECORD = {
    "outcome": Or(("passed", "failed", "skipped")),
    "longrepr": Or((_NOTHING, str, (str, int, str), _EXCEPTION)),
    "wasxfail": Or((_NOTHING, str)),
    "sections": [(str, str)],
    "properties": [(str, Or((_NOTHING, str, bool, *NUMBER)))],
    "warnings": [(str, str, str, int)],
    "denied": [_ATTEMPT],
    "lines": [(str, [int])],
    "arcs": [(str, [(int, int)])],
}
_BROKEN = {"broken": [str]}
_ENDED = {"ended": Or(("exit", "interrupt")), "reason": str}
SHAPE = Or((_RECORD, _BROKEN, _ENDED))
"""What a confined process may send: its report, why it could not be confined, or that the session is to end."""


def encode(record: dict[str, Any]) -> bytes:
    """A record as bytes; what JSON does not have becomes text."""
    return json.dumps(record, default=str).encode()


def of(report: pytest.TestReport, data: dict[str, Any]) -> dict[str, Any]:
    """The record of a report; `data` is what pytest makes of it."""
    return {
        "outcome": report.outcome,
        "longrepr": _plain(data["longrepr"]),
        "wasxfail": getattr(report, "wasxfail", None),
        "sections": [*report.sections],
        "properties": [
            (str(name), value if isinstance(value, str | bool | int | float | None) else str(value))
            for name, value in report.user_properties
        ],
    }


def _plain(longrepr: Any) -> Any:
    """A representation of one of the shapes; an unusual one as text."""
    decoded = json.loads(json.dumps(longrepr, default=str))
    return longrepr if _fits(decoded, _RECORD["longrepr"]) else str(longrepr)


def decode(data: bytes) -> dict[str, Any]:
    """Read what a confined process sent. Raises Malformed."""
    try:
        record = json.loads(data)
        if not _fits(record, SHAPE):
            raise Malformed("it has not the shape of a report")
        if "outcome" in record and not _agrees(record):
            raise Malformed("its outcome and what it says of it do not agree")
    except RecursionError:
        raise Malformed("it is nested too deep") from None
    except ValueError as error:
        raise Malformed(str(error)) from None
    # Half a surrogate is no text: neither a channel of pytest-xdist nor a file takes it.
    found: dict[str, Any] = json.loads(json.dumps(record, ensure_ascii=False).encode(errors="replace"))
    return found


def _agrees(record: dict[str, Any]) -> bool:
    """Whether the outcome has the representation that pytest takes for granted with it."""
    is_skip = isinstance(record["longrepr"], list)
    if record["wasxfail"] is not None:
        return record["outcome"] in ("passed", "skipped") and not is_skip
    if record["outcome"] == "failed":
        return record["longrepr"] is not None and not is_skip
    return is_skip if record["outcome"] == "skipped" else record["longrepr"] is None


def _fits(value: Any, shape: Any) -> bool:
    if isinstance(shape, Or):
        return any(_fits(value, one) for one in shape)
    if isinstance(shape, type):
        return type(value) is shape
    if isinstance(shape, dict):
        return (
            isinstance(value, dict) and value.keys() == shape.keys() and all(_fits(value[k], shape[k]) for k in shape)
        )
    if isinstance(shape, list):
        return isinstance(value, list) and all(_fits(one, shape[0]) for one in value)
    if isinstance(shape, tuple):
        return isinstance(value, list) and len(value) == len(shape) and all(map(_fits, value, shape))
    return type(value) is type(shape) and bool(value == shape)


def restore(item: pytest.Item, report: pytest.TestReport, record: dict[str, Any]) -> pytest.TestReport:
    """The report of the confined body in the place of `report`, which is this process's own of having waited."""
    longrepr = record["longrepr"]
    data = {
        "$report_type": "TestReport",
        "nodeid": item.nodeid,
        "location": list(item.location),
        "keywords": dict(report.keywords),
        "outcome": record["outcome"],
        "longrepr": tuple(longrepr) if isinstance(longrepr, list) else longrepr,
        "when": "call",
        "sections": [(name, content) for name, content in record["sections"]],
        "duration": report.duration,
        "start": report.start,
        "stop": report.stop,
        # The names become attributes in XML as they are.
        "user_properties": [
            ("".join(char if char.isprintable() else "?" for char in name), value)
            for name, value in record["properties"]
        ],
    }
    if record["wasxfail"] is not None:
        data["wasxfail"] = record["wasxfail"]
    item.user_properties[:] = data["user_properties"]
    made: pytest.TestReport = item.config.hook.pytest_report_from_serializable(config=item.config, data=data)
    return made
