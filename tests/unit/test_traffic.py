"""The relay's record is taken only in the shape that it must have."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandrun import traffic

GOOD: dict[str, Any] = {
    "endpoints": [
        {"endpoint": "tcp:pypi.org:443", "connections": 3, "failed": 0, "error": "", "sent": 10, "received": 20}
    ],
    "refused": [{"what": "name", "target": "evil.example", "reason": "not granted", "count": 2}],
    "published": [{"port": 8080, "connections": 1}],
    "others": 0,
}


def encoded(**changes: Any) -> bytes:
    return json.dumps({**GOOD, **changes}).encode()


def test_record() -> None:
    """What was recorded is what the report says."""
    assert traffic.document(encoded()) == {"complete": True, **GOOD}
    assert traffic.ending(encoded(), failed=True) == ["the network refused: name evil.example"]
    assert traffic.ending(encoded(), failed=False) == []


def test_failures() -> None:
    """A host that is granted and cannot be reached is named with the reason, if the command failed."""
    rows = [{**GOOD["endpoints"][0], "failed": 1, "error": "No route to host"}]
    record = encoded(endpoints=rows, refused=[])
    assert traffic.ending(record, failed=True) == ["no connection to tcp:pypi.org:443: No route to host"]
    assert traffic.ending(record, failed=False) == []


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        encoded()[:-2],
        encoded(others=-1),
        encoded(others=True),
        encoded(endpoints=[{}]),
        encoded(published=[{"port": "8080", "connections": 1}]),
        encoded(refused=[{**GOOD["refused"][0], "target": "x" * 1000}]),
        encoded(refused=GOOD["refused"] * 6000),
        b"[" * 100_000,
    ],
)
def test_other_shapes(record: bytes) -> None:
    """Anything else counts as no record, and the user learns that the relay is not to be relied on."""
    assert traffic.read(record) is None
    assert not traffic.document(record)["complete"]
    assert "relay ended" in traffic.ending(record, failed=False)[0]


def test_many_refusals() -> None:
    """The line at the end names a few and counts the others."""
    rows = [{**GOOD["refused"][0], "target": f"h{n}.example"} for n in range(9)]
    (line,) = traffic.ending(encoded(refused=rows, others=3), failed=True)
    assert line.endswith("name h4.example, and 7 more")


@given(
    st.binary() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(lambda v: json.dumps(v).encode())
)
def test_never_raises(record: bytes) -> None:
    """No bytes make the reader fail."""
    traffic.document(record)
