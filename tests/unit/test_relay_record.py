"""The record of the relay: bounded, in pieces, and safe to print."""

from __future__ import annotations

import json

from sandrun import traffic
from sandrun.egress.record import LONGEST_TEXT, MESSAGE, MOST_REFUSED, Record, place


def test_the_supervisor_takes_it() -> None:
    """What the relay writes has the shape that `traffic` demands."""
    record = Record()
    counters = record.endpoint("tcp:a.test:443")
    counters.connections, counters.sent = 2, 5
    record.refused("name", "evil.example", "not granted")
    record.refused("name", "evil.example", "not granted")
    record.published(8080)
    found = traffic.read(b"".join(record.messages()))
    assert found is not None
    assert found.endpoints == (
        {"endpoint": "tcp:a.test:443", "connections": 2, "failed": 0, "error": "", "sent": 5, "received": 0},
    )
    assert found.refused == ({"what": "name", "target": "evil.example", "reason": "not granted", "count": 2},)
    assert (found.published, found.others) == (({"port": 8080, "connections": 1},), 0)


def test_refusals_are_bounded() -> None:
    """A command that tries everything fills the list and then a counter; what is not listed is not said either."""
    said: list[str] = []
    record = Record(said.append)
    for number in range(MOST_REFUSED + 50):
        record.refused("name", f"{'x' * 400}{number}"[-400:], "not granted")
        record.refused("name", f"{number}.example", "r" * 400)
    document = record.document()
    messages = list(record.messages())
    assert len(document["refused"]) == MOST_REFUSED == len(said)  # type: ignore[arg-type]
    assert all(0 < len(message) <= MESSAGE for message in messages)
    assert len(b"".join(messages)) < 1 << 20
    assert traffic.read(b"".join(messages)) is not None


def test_texts_of_the_command() -> None:
    """Control characters, which could move a cursor or start a new line, are gone; long texts are cut."""
    said: list[str] = []
    record = Record(said.append)
    record.refused("name", "a\x1b[2J\nsandrun: fine\u202e" + "b" * 1000, "not granted")
    (line,) = said
    assert line.isprintable()
    assert line.isascii()
    assert "\n" not in line
    ((_, target, *_),) = [row.values() for row in json.loads(b"".join(record.messages()))["refused"]]
    assert len(target) == LONGEST_TEXT


def test_places() -> None:
    """IPv6 addresses stand in brackets, as in a profile."""
    assert (place("10.0.0.1", 443), place("::1", 53), place("a.test", 1)) == ("10.0.0.1:443", "[::1]:53", "a.test:1")
