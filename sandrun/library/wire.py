"""The wire from a confined worker to its caller: plain values as bytes, read as if an attacker had written them.

One value is a tag and what the tag says: a fixed size, a length, or a count of values. Reading it makes values of the
types below and nothing else: it imports nothing, calls nothing that a name chooses, and takes time and memory in proportion to
limits that the caller sets. Only exact types are written, so that nothing changes its type silently on the way: an
`OrderedDict` or a `numpy.float64` is refused with its place in the result.

A frame is a magic number, a kind, a length and that many bytes.
"""

from __future__ import annotations

import datetime
import decimal
import pathlib
import struct
from collections import Counter

from sandrun.library.call_errors import SendError, WireError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

MAX_DEPTH = 100
MAX_SIZE = 64 << 20
"""Bytes of one frame, if the caller says nothing else."""
MAX_TOLD = 1 << 20
"""Bytes of a frame that is no result: why there is none."""
MAX_WEIGHT = 4_000_000
"""Values of one frame; a container weighs as much as CONTAINER_WEIGHT of them, since an empty set alone takes 216 bytes."""
CONTAINER_WEIGHT = 4
MAX_SAME_HASH = 64
"""Keys of one dict or set with the same hash. Those of numbers can be chosen to be the same, and each key is compared with all before it."""
NO_KEYS = (b"z", b"C")
"""Tags that are not read where values are compared with each other, as keys and in sets: sets within sets made to share
hashes take the square of their size, and a Decimal is compared with an int by a conversion that takes the square of its length."""

MAGIC = b"SRW1"
HEADER = struct.Struct(">4scQ")
HELLO, VALUE, PICKLED, RAISED, REFUSED = b"h", b"v", b"p", b"x", b"r"
KINDS = (HELLO, VALUE, PICKLED, RAISED, REFUSED)
"""The worker runs; a result; one as a pickle; an exception; there is no result, for a reason of the worker's own."""

_COUNT = struct.Struct(">I")
_FLOAT = struct.Struct(">d")
_COMPLEX = struct.Struct(">dd")


def frame(kind: bytes, body: bytes) -> bytes:
    """One frame."""
    return HEADER.pack(MAGIC, kind, len(body)) + body


def header(data: bytes, max_size: int) -> tuple[bytes, int]:
    """The kind and length that the first HEADER.size bytes announce. Raises WireError."""
    magic, kind, length = HEADER.unpack(data)
    if magic != MAGIC or kind not in KINDS:
        raise WireError("cannot use what the worker wrote: it is no result")
    if length > (max_size if kind in (VALUE, PICKLED) else MAX_TOLD):
        raise WireError(
            f"cannot use what the worker wrote: a result of {length} bytes is more than allowed",
            hint="max_size= allows more, if the caller can hold it",
        )
    return kind, length


# --- writing ---------------------------------------------------------------------------------------------------------


def encode(value: object, max_size: int = MAX_SIZE) -> bytes:
    """The bytes of a value. Raises SendError with the place of what cannot be written."""
    writer = _Writer(max_size)
    writer.put(value, "", 0)
    writer.check("")
    return bytes(writer.out)


class _Writer:
    """Appends values, and gives up where the reader would."""

    __slots__ = ("hashed", "max_size", "out", "weight")

    def __init__(self, max_size: int) -> None:
        self.hashed = 0
        self.max_size = max_size
        self.out = bytearray()
        self.weight = 0

    def put(self, value: object, where: str, depth: int) -> None:
        kind = type(value)
        self._weigh(1, where)
        if depth > MAX_DEPTH:
            raise SendError(
                f"cannot send the result: more than {MAX_DEPTH} levels deep, or it holds itself: at {_short(where)}"
            )
        if self.hashed and kind in (frozenset, decimal.Decimal):
            raise _unknown(f"{_name(kind)} as a key or in a set", where)
        if kind in _SIMPLE:
            tag, text = _SIMPLE[kind]
            self._sized(tag, text(value), where)
        elif value is None or kind is bool:
            self.out += b"N" if value is None else b"T" if value else b"F"
        elif kind is float:
            self.out += b"f" + _FLOAT.pack(value)
        elif kind is complex:
            assert isinstance(value, complex)  # noqa: S101 (for mypy)
            self.out += b"c" + _COMPLEX.pack(value.real, value.imag)
        elif kind in _CONTAINERS:
            self._container(value, where, depth)
        elif kind is dict:
            self._dict(value, where, depth)
        else:
            self._other(value, where)

    def _container(self, value: Any, where: str, depth: int) -> None:
        self._weigh(CONTAINER_WEIGHT, where)
        self.out += _CONTAINERS[type(value)] + _COUNT.pack(len(value))
        self.hashed += isinstance(value, (set, frozenset))
        for number, item in enumerate(value):
            self.put(item, f"{where}[{number}]" if isinstance(value, (list, tuple)) else f"{where}{{...}}", depth + 1)
        self.hashed -= isinstance(value, (set, frozenset))

    def _dict(self, value: Any, where: str, depth: int) -> None:
        self._weigh(CONTAINER_WEIGHT, where)
        self.out += b"d" + _COUNT.pack(len(value))
        for key, item in value.items():
            self.hashed += 1
            self.put(key, f"{where} key", depth + 1)
            self.hashed -= 1
            self.put(item, f"{where}[{_key(key)}]", depth + 1)

    def _other(self, value: object, where: str) -> None:
        if isinstance(value, (datetime.datetime, datetime.time)) and type(value) in _TIMES:
            if value.tzinfo is None or type(value.tzinfo) is datetime.timezone:
                return self._sized(_TIMES[type(value)], f"{value.fold}{value.isoformat()}".encode(), where)
            raise _unknown(f"a time zone of type {_name(type(value.tzinfo))}", where)
        raise _unknown(f"type {_name(type(value))}", where)

    def _sized(self, tag: bytes, data: bytes, where: str) -> None:
        self.check(where, len(data))
        self.out += tag + _COUNT.pack(len(data))
        self.out += data

    def check(self, where: str, more: int = 0) -> None:
        """Give up where the result is too long with `more` bytes."""
        if len(self.out) + more > self.max_size:
            raise SendError(
                f"cannot send the result: more than {self.max_size} bytes: at {_short(where)}",
                hint="max_size= allows more, if the caller can hold it",
            )

    def _weigh(self, weight: int, where: str) -> None:
        self.weight += weight
        self.check(where)
        if self.weight > MAX_WEIGHT:
            raise SendError(
                f"cannot send the result: too many values: at {_short(where)}",
                hint="send bulk data as one bytes object",
            )


def _unknown(what: str, where: str) -> SendError:
    return SendError(
        f"cannot send the result: {what}: at {_short(where)}",
        hint="return plain data (None, numbers, str, bytes, lists, tuples, dicts, sets, dates, Decimal, Path); pickle=True only "
        "if the worker is trusted as the caller is",
    )


def _name(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _key(key: object) -> str:
    return repr(key[:40]) if isinstance(key, str) else "..."


def _short(where: str) -> str:
    text = f"result{where}"
    return text if len(text) <= 120 else f"{text[:80]}...{text[-30:]}"


def _int_bytes(value: Any) -> bytes:
    return int(value).to_bytes(value.bit_length() // 8 + 1, "big", signed=True)


def _delta_bytes(value: Any) -> bytes:
    return f"{value.days} {value.seconds} {value.microseconds}".encode()


_SIMPLE: dict[type, tuple[bytes, Callable[[Any], bytes]]] = {
    int: (b"i", _int_bytes),
    str: (b"s", lambda value: value.encode("utf-8", "surrogatepass")),
    bytes: (b"b", lambda value: value),
    datetime.date: (b"A", lambda value: value.isoformat().encode()),
    datetime.timedelta: (b"L", _delta_bytes),
    decimal.Decimal: (b"C", lambda value: str(value).encode()),
    pathlib.PosixPath: (b"P", lambda value: str(value).encode("utf-8", "surrogatepass")),
}
_TIMES: dict[type, bytes] = {datetime.datetime: b"D", datetime.time: b"M"}
_CONTAINERS: dict[type, bytes] = {list: b"l", tuple: b"t", set: b"e", frozenset: b"z"}


def shown(text: str) -> str:
    """A worker's text with everything escaped that a terminal could act on, but for new lines and tabs."""
    return "".join(char if char.isprintable() or char in "\n\t" else ascii(char)[1:-1] for char in text)


# --- reading ---------------------------------------------------------------------------------------------------------


def decode(data: bytes) -> Any:
    """The value that these bytes are, all of them. Raises WireError, whatever they are."""
    reader = _Reader(data)
    try:
        value = reader.get(0)
    except (ValueError, TypeError, ArithmeticError, LookupError, RecursionError) as error:
        # Constructors refuse texts, an unhashable key is one of dicts: the kinds of what is wrong are Python's own.
        raise WireError(f"cannot use what the worker wrote: malformed: {type(error).__name__}") from None
    if reader.at != len(data):
        raise WireError("cannot use what the worker wrote: more than one value")
    return value


class _Reader:
    """Takes values from the front. Nothing is allocated for a count before that many bytes are known to be there."""

    __slots__ = ("at", "data", "hashed", "weight")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.hashed = 0
        self.at = 0
        self.weight = 0

    def get(self, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise WireError(f"cannot use what the worker wrote: more than {MAX_DEPTH} levels deep")
        self._weigh(1)
        tag = self._take(1)
        if self.hashed and tag in NO_KEYS:
            raise WireError("cannot use what the worker wrote: malformed: no key")
        if tag in _CONSTANTS:
            return _CONSTANTS[tag]
        if tag in _TEXTS:
            return _TEXTS[tag](self._take(self._count()))
        if tag == b"f":
            return _FLOAT.unpack(self._take(_FLOAT.size))[0]
        if tag == b"c":
            return complex(*_COMPLEX.unpack(self._take(_COMPLEX.size)))
        if tag not in _MAKERS:
            raise WireError("cannot use what the worker wrote: malformed: unknown tag")
        self._weigh(CONTAINER_WEIGHT)
        count = self._count()
        if count > len(self.data) - self.at:
            raise WireError("cannot use what the worker wrote: broken off")
        if tag == b"d":
            return self._pairs(count, depth + 1)
        self.hashed += tag in _HASHING
        items = [self.get(depth + 1) for _ in range(count)]
        self.hashed -= tag in _HASHING
        return _MAKERS[tag](items)

    def _pairs(self, count: int, depth: int) -> dict[Any, Any]:
        keys, values = [], []
        for _ in range(count):
            self.hashed += 1
            keys.append(self.get(depth))
            self.hashed -= 1
            values.append(self.get(depth))
        return dict(zip(_distinct(keys), values, strict=True))

    def _count(self) -> int:
        return int(_COUNT.unpack(self._take(_COUNT.size))[0])

    def _take(self, size: int) -> bytes:
        end = self.at + size
        if end > len(self.data):
            raise WireError("cannot use what the worker wrote: broken off")
        data = self.data[self.at : end]
        self.at = end
        return data

    def _weigh(self, weight: int) -> None:
        self.weight += weight
        if self.weight > MAX_WEIGHT:
            raise WireError("cannot use what the worker wrote: too many values")


def _distinct(keys: list[Any]) -> list[Any]:
    """The same keys, unless too many of them share a hash: a dict of these would take a time that grows with the square."""
    if len(keys) > MAX_SAME_HASH:
        # The counter's own keys are numbers, whose hashes can be chosen too: as text they cannot.
        ((_, most),) = Counter(str(hash(key)) for key in keys).most_common(1)
        if most > MAX_SAME_HASH:
            raise WireError("cannot use what the worker wrote: keys made to have the same hash")
    return keys


def _int(data: bytes) -> int:
    return int.from_bytes(data, "big", signed=True)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")


def _ascii(make: Callable[[str], Any]) -> Callable[[bytes], Any]:
    """A short text to a value."""

    def read(data: bytes) -> Any:
        if len(data) > 1000:
            raise WireError("cannot use what the worker wrote: malformed: a long number or date")
        return make(data.decode("ascii"))

    return read


def _folded(make: Callable[[str], Any]) -> Callable[[str], Any]:
    """A text to a time, where the first character says which of two times on the same clock it is."""
    return lambda text: make(text[1:]).replace(fold=int(text[0]))


def _delta(text: str) -> datetime.timedelta:
    days, seconds, microseconds = (int(word) for word in text.split(" "))
    return datetime.timedelta(days, seconds, microseconds)


_CONSTANTS: dict[bytes, Any] = {b"N": None, b"T": True, b"F": False}
_TEXTS: dict[bytes, Callable[[bytes], Any]] = {
    b"i": _int,
    b"s": _text,
    b"b": lambda data: data,
    b"A": _ascii(datetime.date.fromisoformat),
    b"D": _ascii(_folded(datetime.datetime.fromisoformat)),
    b"M": _ascii(_folded(datetime.time.fromisoformat)),
    b"L": _ascii(_delta),
    b"C": _ascii(decimal.Decimal),
    b"P": lambda data: pathlib.PosixPath(_text(data)),
}
_HASHING = (b"e", b"z")
_MAKERS: dict[bytes, Callable[[list[Any]], Any]] = {
    b"l": list,
    b"t": tuple,
    b"e": lambda items: set(_distinct(items)),
    b"z": lambda items: frozenset(_distinct(items)),
    b"d": dict,
}
