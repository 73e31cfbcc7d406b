"""The part of JSON Schema (2020-12) that an output can be held to, and JSON as strict as a check must be.

A keyword that is not known here is an error where the schema is read, never one that is passed over: what a schema says
is enforced, or the command does not run. Patterns are those of `pattern`, so no text makes them slow.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from sandrun.profile.bad import Bad, expected, quoted, unknown
from sandrun.profile.pattern import Pattern

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

TYPES = ("null", "boolean", "integer", "number", "string", "array", "object")
SILENT = ("$schema", "$id", "$comment", "$defs", "title", "description", "default", "examples")
"""Keywords that assert nothing."""
COUNTS = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
NUMBERS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
SCHEMAS = ("allOf", "anyOf", "oneOf")
KEYWORDS = (
    *("type", "enum", "const", "required", "properties", "additionalProperties", "items", "pattern", "not", "$ref"),
    *(*COUNTS, *NUMBERS, *SCHEMAS, *SILENT),
)
_DEFINITIONS = "#/$defs/"
_MOST_STEPS = 1_000_000
"""Comparisons for one document: a schema that refers to itself could ask for the same ones without end."""


class MismatchError(Exception):
    """A document is not what the schema says; the text says where and why, without what the document holds."""


def parse(text: str) -> Any:
    """The value of a JSON text. Raises ValueError for what different readers would read differently."""
    try:
        return json.loads(text, parse_constant=_no_constant, object_pairs_hook=_object, parse_float=_float)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError("a number is too large")
    return number


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("an object has a name twice")
    return found


class Schema:
    """A schema that has been read."""

    def __init__(self, document: object) -> None:
        """Read a schema, as JSON or TOML holds it. Raises Bad for what is wrong in it, or not known here."""
        self._patterns: dict[str, Pattern] = {}
        self._definitions: Mapping[str, Any] = {}
        if isinstance(document, dict):
            self._definitions = document.get("$defs", {})
            if not isinstance(self._definitions, dict):
                raise expected("a table", self._definitions)
            for each in self._definitions.values():
                self._read(each)
        self._read(document)
        self._document = document

    # --- reading the schema ------------------------------------------------------------------------------------------

    def _read(self, schema: object) -> None:
        if isinstance(schema, bool):
            return
        if not isinstance(schema, dict):
            raise expected("a schema, which is a table or a boolean", schema)
        for word, value in schema.items():
            if word not in KEYWORDS:
                raise unknown("keyword of JSON Schema", str(word), KEYWORDS)
            try:
                self._keyword(word, value)
            except Bad as bad:
                bad.at = bad.at or f".{word}"
                raise

    def _keyword(self, word: str, value: object) -> None:
        readers: dict[str, Callable[[object], None]] = {
            "type": _types,
            "enum": _array,
            "required": _names,
            "pattern": self._pattern,
            "$ref": self._reference,
            **dict.fromkeys(COUNTS, _count),
            **dict.fromkeys(NUMBERS, _number),
            **dict.fromkeys(("items", "not", "additionalProperties"), self._read),
            **dict.fromkeys(SCHEMAS, self._several),
            "properties": self._properties,
        }
        if word in readers:
            readers[word](value)

    def _pattern(self, value: object) -> None:
        if not isinstance(value, str):
            raise expected("a string", value)
        self._patterns[value] = Pattern(value, search=True)

    def _reference(self, value: object) -> None:
        name = value.removeprefix(_DEFINITIONS) if isinstance(value, str) else ""
        if not isinstance(value, str) or not value.startswith(_DEFINITIONS) or name not in self._definitions:
            raise Bad(f"no such schema: {quoted(str(value))}", f'a reference is "{_DEFINITIONS}NAME"')

    def _several(self, value: object) -> None:
        _array(value)
        for each in value:  # type: ignore[attr-defined]
            self._read(each)

    def _properties(self, value: object) -> None:
        if not isinstance(value, dict):
            raise expected("a table", value)
        for each in value.values():
            self._read(each)

    # --- holding a document to it ------------------------------------------------------------------------------------

    def check(self, value: object, deadline: float | None = None) -> None:
        """Raise MismatchError unless the value, as `parse` gives it, is what the schema says.

        `deadline` is of time.monotonic(): texts may be long and patterns large. Raises TooSlowError after it.
        """
        try:
            _Check(self._definitions, self._patterns, deadline).hold(self._document, value, "")
        except RecursionError:
            raise MismatchError("it is nested too deeply") from None
        except _TooLongError:
            raise MismatchError("it takes too long to compare with the schema") from None


class _TooLongError(Exception):
    """A document takes more steps than any may."""


class _Check:
    """One document against one schema."""

    def __init__(self, definitions: Mapping[str, Any], patterns: Mapping[str, Pattern], deadline: float | None) -> None:
        self._definitions = definitions
        self._patterns = patterns
        self._deadline = deadline
        self._steps = 0

    def hold(self, schema: Any, value: Any, place: str) -> None:
        """Raise MismatchError if the value at this place is not what the schema says."""
        self._steps += 1
        if self._steps > _MOST_STEPS:
            # No mismatch, which would be one for `not` and `oneOf` to be content with.
            raise _TooLongError
        if isinstance(schema, bool):
            if not schema:
                raise _mismatch(place, "nothing may be here")
            return
        _constant(schema, value, place)
        if "$ref" in schema:
            self.hold(self._definitions[schema["$ref"].removeprefix(_DEFINITIONS)], value, place)
        self._combined(schema, value, place)
        if isinstance(value, str):
            self._text(schema, value, place)
        elif isinstance(value, dict):
            self._table(schema, value, place)
        elif isinstance(value, list):
            _amount(schema, "Items", len(value), place)
            for number, each in enumerate(value if "items" in schema else ()):
                self.hold(schema["items"], each, f"{place}[{number}]")
        elif _is(value, "number"):
            _range(schema, value, place)

    def _combined(self, schema: Any, value: Any, place: str) -> None:
        for each in schema.get("allOf", ()):
            self.hold(each, value, place)
        if "anyOf" in schema and not any(self._fits(each, value, place) for each in schema["anyOf"]):
            raise _mismatch(place, "none of what may be here")
        if "oneOf" in schema and sum(self._fits(each, value, place) for each in schema["oneOf"]) != 1:
            raise _mismatch(place, "not exactly one of what may be here")
        if "not" in schema and self._fits(schema["not"], value, place):
            raise _mismatch(place, "what must not be here")

    def _fits(self, schema: Any, value: Any, place: str) -> bool:
        try:
            self.hold(schema, value, place)
        except MismatchError:
            return False
        return True

    def _text(self, schema: Any, value: str, place: str) -> None:
        _amount(schema, "Length", len(value), place)
        if "pattern" in schema and not self._patterns[schema["pattern"]].matches(value, self._deadline):
            raise _mismatch(place, "does not match the pattern")

    def _table(self, schema: Any, value: dict[str, Any], place: str) -> None:
        _amount(schema, "Properties", len(value), place)
        for name in schema.get("required", ()):
            if name not in value:
                raise _mismatch(place, f"{name} is missing")
        known = schema.get("properties", {})
        for name, each in value.items():
            if name in known:
                self.hold(known[name], each, f"{place}.{name}")
            elif "additionalProperties" in schema:
                self.hold(schema["additionalProperties"], each, f"{place}.{quoted(name)}")


def _constant(schema: Any, value: Any, place: str) -> None:
    if "type" in schema:
        wanted = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
        if not any(_is(value, kind) for kind in wanted):
            raise _mismatch(place, f"not of type {' or '.join(wanted)}")
    if "enum" in schema and not any(_same(value, each) for each in schema["enum"]):
        raise _mismatch(place, "none of the values that may be here")
    if "const" in schema and not _same(value, schema["const"]):
        raise _mismatch(place, "not the value that must be here")


def _types(value: object) -> None:
    for kind in value if isinstance(value, list) and value else [value]:
        if kind not in TYPES:
            raise unknown("type", str(kind), TYPES, list_them=True)


def _array(value: object) -> None:
    if not isinstance(value, list) or not value:
        raise expected("an array with something in it", value)


def _names(value: object) -> None:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise expected("an array of names", value)


def _count(value: object) -> None:
    if not _is(value, "integer") or value < 0:  # type: ignore[operator]
        raise expected("a number, 0 or more", value)


def _number(value: object) -> None:
    if not _is(value, "number"):
        raise expected("a number", value)


def _is(value: object, kind: str) -> bool:
    if isinstance(value, bool) or value is None:
        return kind == ("null" if value is None else "boolean")
    if kind == "integer":
        return isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    types: dict[str, tuple[type, ...]] = {"number": (int, float), "string": (str,), "array": (list,), "object": (dict,)}
    return isinstance(value, types.get(kind, ()))


def _same(first: Any, second: Any) -> bool:
    """Equal as JSON is: 1 is 1.0, and true is not 1."""
    if isinstance(first, bool) or isinstance(second, bool):
        return first is second
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(map(_same, first, second))
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(_same(first[name], second[name]) for name in first)
    return bool(first == second)


def _amount(schema: Any, what: str, number: int, place: str) -> None:
    if number < schema.get(f"min{what}", 0):
        raise _mismatch(place, "too few" if what != "Length" else "too short")
    if number > schema.get(f"max{what}", number):
        raise _mismatch(place, "too many" if what != "Length" else "too long")


def _range(schema: Any, value: float, place: str) -> None:
    low, high = schema.get("minimum", value), schema.get("maximum", value)
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    if value < low or value > high or (above is not None and value <= above) or (below is not None and value >= below):
        raise _mismatch(place, "out of range")


def _mismatch(place: str, why: str) -> MismatchError:
    place = place.removeprefix(".")
    return MismatchError(f"{place[:200]}: {why}" if place else why)
