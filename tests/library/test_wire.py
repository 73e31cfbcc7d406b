"""The wire carries plain values and nothing else, and no bytes make its reader do anything but read or refuse."""

from __future__ import annotations

import contextlib
import datetime
import decimal
import math
import pathlib
import struct
import time
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies

from sandrun.library import wire
from sandrun.library.call_errors import SendError, WireError
from tests.library import honest

_KEYS = strategies.one_of(
    strategies.none(),
    strategies.booleans(),
    strategies.integers(),
    strategies.floats(allow_nan=False),
    strategies.complex_numbers(allow_nan=False),
    strategies.text(),
    strategies.binary(),
    strategies.dates(),
    strategies.datetimes(timezones=strategies.sampled_from([None, datetime.UTC])),
    strategies.times(),
    strategies.timedeltas(),
    strategies.text(alphabet="ab./").map(pathlib.Path),
)
VALUES = strategies.recursive(
    _KEYS | strategies.decimals(allow_nan=False),
    lambda inner: (
        strategies.lists(inner)
        | strategies.lists(inner).map(tuple)
        | strategies.dictionaries(_KEYS, inner)
        | strategies.sets(_KEYS)
        | strategies.frozensets(_KEYS)
    ),
    max_leaves=20,
)


def typed(value: Any) -> Any:
    """A value with its types, which == takes no notice of; sets and keys in no order."""
    if isinstance(value, (list, tuple)):
        return (type(value), [typed(item) for item in value])
    if isinstance(value, (set, frozenset)):
        return (type(value), sorted(repr(typed(item)) for item in value))
    if isinstance(value, dict):
        return (dict, [(typed(key), typed(item)) for key, item in value.items()])
    return (type(value), repr(value))


@hypothesis.given(VALUES)
def test_values_come_back(value: Any) -> None:
    """Each value is the same afterwards, of the same types all the way down."""
    assert typed(wire.decode(wire.encode(value))) == typed(value)


def test_what_compares_to_nothing() -> None:
    """NaNs and signed zeros."""
    assert math.isnan(wire.decode(wire.encode(math.nan)))
    assert math.copysign(1, wire.decode(wire.encode(-0.0))) == -1
    assert wire.decode(wire.encode(decimal.Decimal("sNaN"))).is_snan()


@hypothesis.given(strategies.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """Whatever the bytes, the reader returns a value of its types or raises WireError."""
    try:
        wire.decode(data)
    except WireError:
        return


@hypothesis.given(VALUES, strategies.data())
def test_damaged_values_are_read_or_refused(value: Any, data: strategies.DataObject) -> None:
    """The same for bytes that are almost right, and any part of a value is refused."""
    whole = wire.encode(value)
    place = data.draw(strategies.integers(0, len(whole) - 1))
    damaged = bytearray(whole)
    damaged[place] = data.draw(strategies.integers(0, 255))
    with contextlib.suppress(WireError):
        wire.decode(bytes(damaged))
    with pytest.raises(WireError):
        wire.decode(whole[:place])
    with pytest.raises(WireError):
        wire.decode(whole + b"N")


@pytest.mark.parametrize(
    "body",
    [
        b"l" + struct.pack(">I", 2**32 - 1),
        b"d" + struct.pack(">I", 2**32 - 1) + b"N" * 100,
        b"s" + struct.pack(">I", 2**32 - 1) + b"x",
        b"l\0\0\0\1" * 1000 + b"N",
        b"d\0\0\0\1" + b"l\0\0\0\0" + b"N",
        b"C" + struct.pack(">I", 5000) + b"9" * 5000,
        b"C\0\0\0\3abc",
        b"D\0\0\0\3abc",
        b"L\0\0\0\3abc",
        b"L\0\0\0\x1c9999999999999999999999999 0 0",
        b"s\0\0\0\1\xff",
        b"?",
        b"",
    ],
)
def test_hostile_bytes(body: bytes) -> None:
    """Counts that promise more than there is, depth, unhashable keys, texts that are no value: refused, and at once."""
    began = time.monotonic()
    with pytest.raises(WireError):
        wire.decode(body)
    assert time.monotonic() - began < 60


def test_keys_with_the_same_hash() -> None:
    """A dict whose keys all have one hash would take hours: it is refused; as many keys of other hashes are not."""
    prime = 2**61 - 1
    began = time.monotonic()
    for make in (dict.fromkeys, set, frozenset):
        # Made as bytes: even the dict to be written would take its time.
        items = [wire.encode(number * prime) for number in range(30_000)]
        tag = {dict.fromkeys: b"d", set: b"e", frozenset: b"z"}[make]
        body = tag + struct.pack(">I", len(items)) + b"".join(item + (b"N" if tag == b"d" else b"") for item in items)
        with pytest.raises(WireError, match="same hash"):
            wire.decode(body)
    assert time.monotonic() - began < 60
    many = set(range(100_000))
    assert wire.decode(wire.encode(many)) == many


def test_sets_within_sets() -> None:
    """Sets of sets of sets with few hashes: each comparison is one of all their parts. They are neither read nor written."""
    prime = 2**61 - 1
    inner = b"".join(b"z\0\0\0\2" + wire.encode(prime) + wire.encode(number * prime) for number in range(2, 60))
    outer = b"e" + struct.pack(">I", 58) + inner
    with pytest.raises(WireError, match="no key"):
        wire.decode(outer)
    with pytest.raises(WireError, match="no key"):
        wire.decode(b"d\0\0\0\1" + b"t\0\0\0\1" + b"z\0\0\0\0" + b"N")
    for value in ({frozenset([1])}, {frozenset([1]): 1}, {(frozenset([1]),): 1}, {decimal.Decimal(1)}):
        with pytest.raises(SendError, match="as a key or in a set"):
            wire.encode(value)
    assert wire.decode(wire.encode({1: decimal.Decimal(1), 2: frozenset([1])})) == {
        1: decimal.Decimal(1),
        2: frozenset([1]),
    }


def test_numbers_of_two_kinds() -> None:
    """A long int and a Decimal of the same hash: to compare them would take hours."""
    number = wire.encode(7 + (2**61 - 1) * 2**100_000_000)
    with pytest.raises(WireError, match="no key"):
        wire.decode(b"e\0\0\0\2" + number + wire.encode(decimal.Decimal(7)))


def test_memory_for_empty_containers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five bytes each on the wire, 216 in memory: the number of them is limited, and weighs more than that of others."""
    monkeypatch.setattr(wire, "MAX_WEIGHT", 10_000)
    assert len(wire.decode(b"l" + struct.pack(">I", 9_000) + b"N" * 9_000)) == 9_000
    with pytest.raises(WireError, match="too many values"):
        wire.decode(b"l" + struct.pack(">I", 9_000) + b"e\0\0\0\0" * 9_000)


@pytest.mark.parametrize("what", ["point", "colour", "ordered", "pair", "file"])
def test_other_types_are_not_written(what: str) -> None:
    """Not even subclasses of plain types: they would be another type afterwards."""
    with pytest.raises(SendError, match="cannot send the result: type ") as raised:
        wire.encode(honest.make(what))
    assert raised.value.hint


def test_the_place_is_named() -> None:
    """Where in the result it is."""
    with pytest.raises(SendError, match=r"at result\[0\]\['a'\]$"):
        wire.encode(honest.make("colour"))
    with pytest.raises(SendError, match="at result key"):
        wire.encode({honest.Pair(1, 2): 3})


def test_limits_of_the_writer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A result that holds itself, that is too long, or that has too many values says so."""
    with pytest.raises(SendError, match="holds itself"):
        wire.encode(honest.itself())
    with pytest.raises(SendError, match="more than 100 bytes"):
        wire.encode(["x" * 50, "y" * 60], 100)
    monkeypatch.setattr(wire, "MAX_WEIGHT", 10_000)
    with pytest.raises(SendError, match="too many values"):
        wire.encode([None] * (wire.MAX_WEIGHT + 1))


def test_headers() -> None:
    """A header that is none, of an unknown kind, or of a body above the limit."""
    assert wire.header(wire.frame(wire.VALUE, b"N")[: wire.HEADER.size], 1) == (wire.VALUE, 1)
    for data in (b"\0" * wire.HEADER.size, wire.HEADER.pack(wire.MAGIC, b"?", 0)):
        with pytest.raises(WireError, match="no result"):
            wire.header(data, 1)
    with pytest.raises(WireError, match="a result of 2 bytes is more"):
        wire.header(wire.HEADER.pack(wire.MAGIC, wire.VALUE, 2), 1)
