"""What outputs are held to: patterns in linear time, JSON Schema, one bounded copy."""

from __future__ import annotations

import os
import re
import time
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandrun.brokered import checks
from sandrun.profile import json_schema
from sandrun.profile.bad import Bad
from sandrun.profile.json_schema import MismatchError, Schema, parse
from sandrun.profile.pattern import Pattern, TooSlowError
from tests.outputs import OUTPUT

PATTERNS = ["a*b", "(a|b)+c?", "[a-c]{2,3}1", r"\d+\.\d+", "[^a]b", "(?:ab|c1){2}", "^abc$", r"a\$", "", "a{0}b"]
PATTERNS += ["(a*)*b", "[]a]+", "[a-]+", "1{2,}", r"[\dab]*", r"\W", "a|", "(?:)", r"\x61+", ".b"]


@given(st.sampled_from(PATTERNS), st.text("abc1.$-] \n", max_size=6))
def test_patterns_mean_what_re_means(pattern: str, text: str) -> None:
    """Of what is supported, each matches what Python's own does."""
    assert Pattern(pattern).matches(text) == bool(re.fullmatch(pattern, text))


@given(st.sampled_from(["^a", "b$", "a|b", "ab", "^abc$", r"\$", "^$"]), st.text("abc$", max_size=6))
def test_patterns_of_schemas_are_found_anywhere(pattern: str, text: str) -> None:
    """In JSON Schema a pattern is not anchored, unless it says so."""
    assert Pattern(pattern, search=True).matches(text) == bool(re.search(pattern, text))


@pytest.mark.parametrize(
    "pattern",
    [
        r"(a)\1",
        "(?=a)",
        "(?P<x>a)",
        "a*?",
        "a**",
        "*a",
        "(",
        ")",
        "[a",
        "a{",
        "a{2,1}",
        "a{9999}",
        r"\q",
        "^a|b$",
        "((a{1000}){1000}){1000}",
        "(((a{0}){1000}){1000}){1000}",
        "a^b",
        "[b-a]",
        "\\",
    ],
)
def test_patterns_that_are_refused(pattern: str) -> None:
    """What cannot be matched in linear time, or is no pattern, is refused where it is read."""
    with pytest.raises(Bad):
        Pattern(pattern)


def test_hostile_text_takes_linear_time() -> None:
    """What makes a backtracking matcher run for ever takes a moment, and a deadline holds whatever the pattern."""
    start = time.monotonic()
    assert not Pattern("(a*)*b").matches("a" * 300_000)
    assert not Pattern("(a|a)*(a|a)*c").matches("a" * 300_000)
    assert time.monotonic() - start < 5
    with pytest.raises(TooSlowError):
        Pattern("a*").matches("a" * 10_000, time.monotonic() - 1)


SCHEMAS: list[dict[str, Any]] = [
    {"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}, "additionalProperties": False},
    {"type": ["string", "null"], "maxLength": 2, "pattern": "^a"},
    {"items": {"enum": [1, "a", None, [1], True]}, "minItems": 1, "maxItems": 2},
    {"anyOf": [{"type": "string"}, {"minimum": 1, "exclusiveMaximum": 3}]},
    {"oneOf": [{"type": "number"}, {"type": "integer"}], "not": {"const": 1.5}},
    {"$defs": {"x": {"type": "array", "items": {"$ref": "#/$defs/x"}}}, "$ref": "#/$defs/x"},
    {"allOf": [{"minProperties": 1}, {"maxProperties": 1}], "properties": {"b": False}},
]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([1.0, 1.5, 2.0]) | st.text("ab", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=2),
    max_leaves=5,
)


@given(st.sampled_from(SCHEMAS), VALUES)
def test_schemas_mean_what_jsonschema_means(schema: dict[str, Any], value: object) -> None:
    """Of what is supported, each accepts what the reference does."""
    try:
        Schema(schema).check(value)
        accepted = True
    except MismatchError:
        accepted = False
    assert accepted == jsonschema.Draft202012Validator(schema).is_valid(value)


@pytest.mark.parametrize(
    "schema",
    [
        {"typ": "string"},
        {"type": "text"},
        {"format": "email"},
        {"properties": {"a": {"minimun": 1}}},
        {"$ref": "http://example.org/x"},
        {"$ref": "#/$defs/none"},
        {"pattern": r"(a)\1"},
        {"required": "a"},
        {"maxLength": -1},
        {"enum": []},
        {"unevaluatedProperties": False},
        3,
    ],
)
def test_schemas_that_are_refused(schema: object) -> None:
    """A keyword that would not be enforced is an error, not passed over."""
    with pytest.raises(Bad):
        Schema(schema)


def test_a_schema_that_refers_to_itself_ends() -> None:
    """Neither a loop of references nor deep nesting takes sandrun down."""
    loop = Schema({"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"})
    with pytest.raises(MismatchError):
        loop.check(1)
    twice = {"anyOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/a"}]}
    with pytest.raises(MismatchError):
        Schema({"$defs": {"a": {"items": twice, "maxItems": 1}}, "$ref": "#/$defs/a"}).check(nested(200))


@pytest.mark.parametrize("around", ["not", "oneOf"])
def test_what_takes_too_long_is_refused(around: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A document that is long enough for the comparison to be given up is not what must not be here, nor just one thing."""
    monkeypatch.setattr(json_schema, "_MOST_STEPS", 100)
    banned = {"items": {"const": 1}}
    schema = Schema({"not": banned} if around == "not" else {"oneOf": [{"type": "array"}, banned]})
    for count in (10, 101):
        with pytest.raises(MismatchError):
            schema.check([1] * count)
    schema.check([1, 2])


def test_texts_of_a_document_are_compared_in_bounded_time() -> None:
    """A large pattern and a long text are refused after a while, as lines are."""
    with pytest.raises(TooSlowError):
        Schema({"items": {"pattern": "^(?:a?[^b]?){200}$"}}).check(["b" * 5000], time.monotonic() - 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checks, "MOST_SECONDS", -1.0)
        output = OUTPUT._replace(schema=Schema({"pattern": "^a*$"}))
        with pytest.raises(checks.RefusedError, match="seconds to read"):
            checks.check(output, b'"aa"')
    checks.check(output, b'"aa"')


def nested(depth: int) -> list[Any]:
    value: list[Any] = [1, 2]
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "text",
    ['{"a":1,"a":2}', "NaN", "[1e999]", "-Infinity", "[" * 100_000, "1 2", "", "'a'", '"\x01"', "9" * 5000, "[1,]"],
)
def test_json_that_is_refused(text: str) -> None:
    """What two readers could take for different things is no JSON."""
    with pytest.raises(ValueError):
        parse(text)


def test_copies_are_bounded() -> None:
    """However large a file claims to be, no more than its limit is read, and one byte more refuses it."""
    fd = os.memfd_create("test")
    try:
        os.write(fd, b"x" * 10)
        assert checks.copy(fd, 10) == b"x" * 10
        with pytest.raises(checks.RefusedError):
            checks.copy(fd, 9)
        os.ftruncate(fd, 1 << 50)
        with pytest.raises(checks.RefusedError):
            checks.copy(fd, 1 << 20)
    finally:
        os.close(fd)
