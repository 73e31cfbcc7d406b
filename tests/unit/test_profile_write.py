"""Profiles as TOML text, their JSON Schema, and the lines of a document: three views that must agree with the loader."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import jsonschema
import pytest
import tomli
from hypothesis import given
from hypothesis import strategies as st

from sandrun.profile import load, source
from sandrun.profile.find import available
from sandrun.profile.keys import KEYS, TABLE, UNION, Key
from sandrun.profile.layer import Layer, read_document
from sandrun.profile.loader import load_file, read_layer
from sandrun.profile.model import Origin, Profile, Value
from sandrun.profile.schema import schema
from sandrun.profile.write import layer_text, profile_text
from tests.profiles_made import documents


def read(data: dict[str, Any]) -> Layer:
    layer, problems = read_document(data, "p.toml", "/here", {})
    assert not problems, [str(problem) for problem in problems]
    return layer


def meaning(profile: Profile) -> tuple[object, ...]:
    """What must survive being written and read: values, what is optional, what is required; not where it came from."""
    typed = {
        key: [value.value for value in several]
        for key, several in profile.values.items()
        if not key.startswith("environment.set.")
    }
    names = sorted(profile.names("environment.set"))
    optional = {key for key in profile.asked if profile.is_optional(key)}
    return typed, names, optional, [value.value for value in profile.require], profile.description


@given(documents())
def test_what_is_shown_is_read_as_the_same_profile(data: dict[str, Any]) -> None:
    """`profile show` is TOML that gives the profile again, except for the values of variables."""
    layer = read(data)
    for text in (layer_text(layer), profile_text(layer.profile)):
        again = read(tomli.loads(text))
        assert meaning(again.profile) == meaning(layer.profile)
    assert layer_text(read(tomli.loads(layer_text(layer)))) == layer_text(layer)


@given(documents())
def test_the_schema_accepts_what_the_loader_accepts(data: dict[str, Any]) -> None:
    """An editor never marks a right profile as wrong."""
    read(data)
    jsonschema.Draft202012Validator(schema()).validate(data)


WRONG: list[Any] = [None, True, 1, -5, 1.5, "", "no such thing", [], ["x"], [1], [[]], {}, {"x": 1}, [{}]]


@pytest.mark.parametrize("key", KEYS, ids=[key.path for key in KEYS])
def test_the_schema_refuses_only_what_the_loader_refuses(key: Key) -> None:
    """For every key and every TOML type: what the schema refuses, the loader refuses; wrong types both do."""
    validator = jsonschema.Draft202012Validator(schema())
    table, _, name = key.path.partition(".")
    for raw in WRONG[1:]:
        data = {table: {name: raw} if name else raw}
        refused = bool(read_document(data, "p", "/", {})[1])
        assert validator.is_valid(data) <= (not refused or isinstance(raw, str | list | dict) or key.kind == "nice")
        if not validator.is_valid(data):
            assert refused, f"the schema alone refuses {data}"
    wrong_type: Any = 1 if key.merge in (UNION, TABLE) else ["x"]
    data = {table: {name: wrong_type} if name else wrong_type}
    assert not validator.is_valid(data)
    assert read_document(data, "p", "/", {})[1]


@pytest.mark.parametrize(
    "data",
    [
        {"schema": 2},
        {"filesytem": {}},
        {"filesystem": {"raed": []}},
        {"rlimits": {"nofiles": 1}},
        {"filesystem": {"rules": [{"path": "/a"}]}},
        {"filesystem": {"rules": [{"path": "/a", "access": ["refer"], "x": 1}]}},
        {"syscalls": {"rules": [{"syscall": "ioctl", "arg": 6, "op": "eq", "value": 1, "action": "errno"}]}},
        {"process": {"isolate": 1}},
        {"extends": 1},
        {"optional": "process.isolate"},
    ],
)
def test_both_refuse(data: dict[str, Any]) -> None:
    """Unknown keys, missing fields and wrong types are refused by schema and loader alike."""
    assert not jsonschema.Draft202012Validator(schema()).is_valid(data)
    assert read_document(data, "p", "/", {})[1]


def test_the_schema_is_one_and_knows_every_key() -> None:
    """It is valid by its own dialect and has each declared key with its help."""
    document = schema()
    jsonschema.Draft202012Validator.check_schema(document)
    for key in KEYS:
        table, _, name = key.path.partition(".")
        entry = document["properties"][table]
        assert (entry["properties"][name] if name else entry)["description"] == key.help


def test_values_of_variables_are_not_shown() -> None:
    layer = read({"environment": {"set": {"TOKEN": "hunter2"}}})
    assert layer_text(layer) == 'schema = 1\n\n[environment]\nset.TOKEN = "…"  # the value is not shown\n'
    assert "hunter2" not in profile_text(layer.profile)


def test_effective_text() -> None:
    """Each value with its origin, what was replaced, and the profile's directory written out."""
    origin = Origin("p.toml", "filesystem.read[0]", 3, "/my [dir]")
    read_ = read({"filesystem": {"read": ["${PROFILE_DIR}/x"]}}).profile.items("filesystem.read")[0]
    profile = Profile(
        "p",
        values=MappingProxyType({"filesystem.read": (read_._replace(origin=origin),)}),
        replaced=(Value("network.connect", Origin("p.toml", "replace[0]", 1)),),
    )
    assert profile_text(profile) == (
        "schema = 1\n# replaced: network.connect (p.toml:1: replace[0])\n\n[filesystem]\nread = [\n"
        '    "/my [[]dir]/x",  # p.toml:3: filesystem.read[0]\n]\n'
    )


@pytest.mark.parametrize("found", available(), ids=lambda found: found.word)
def test_every_built_in_profile_is_shown_as_it_is(found: Any) -> None:
    """Reading back what `show` prints of a shipped profile gives the same, effective or not, and fits the schema."""
    text = profile_text(load_file(found))
    assert meaning(read(tomli.loads(text)).profile) == meaning(load_file(found))
    jsonschema.Draft202012Validator(schema()).validate(tomli.loads(text))
    layer, _ = read_layer(found)
    again = tomli.loads(layer_text(layer))
    assert meaning(read_document(again, "p", "/", {})[0].profile)[0] == meaning(layer.profile)[0]


# --- lines -------------------------------------------------------------------------------------------------------

KEY_TEXTS = {"a": "a", "b-c": "b-c", "d.e": '"d.e"', "f #[": "'f #['", 'g"': '"g\\""'}
SCALARS = [
    "1",
    "'x'",
    '"x # ] , }"',
    '"\\\\"',
    '"""a\nb"""',
    "'''a\n'b'''",
    '""""quotes"""""',
    "1979-05-27T07:32:00",
    "true",
]


@st.composite
def toml_values(draw: st.DrawFn, depth: int = 0) -> str:
    kind = draw(st.sampled_from(["scalar"] * 3 + ["array", "table"] * (depth < 3)))
    if kind == "scalar":
        return draw(st.sampled_from(SCALARS))
    separator = draw(st.sampled_from([", ", " , # comment ] }\n", ",\n\n"]))
    if kind == "array":
        items = [draw(toml_values(depth=depth + 1)) for _ in range(draw(st.integers(0, 3)))]
        return f"[{separator.join(items)}{draw(st.sampled_from(['', ' ', chr(10)]))}]"
    keys = draw(st.lists(st.sampled_from(sorted(KEY_TEXTS)), unique=True, max_size=3))
    return "{" + separator.join(f"{KEY_TEXTS[key]} = {draw(toml_values(depth=depth + 1))}" for key in keys) + "}"


@st.composite
def toml_texts(draw: st.DrawFn) -> str:
    """TOML with every construct that may fool a scanner: quotes, brackets and hashes in strings, keys and comments."""
    text = draw(st.sampled_from(["", "# [not] a = 'table\n", "\n\n"]))
    for header in draw(st.lists(st.sampled_from(["", "t", 't."d.e"', "u.v", "[l]", "[l]"]), max_size=4)):
        if header and (header == "[l]" or f"[{header}]\n" not in text):
            text += f"[{header}]\n"
        elif header or "[" in text:
            continue
        for key in draw(st.lists(st.sampled_from(sorted(KEY_TEXTS)), unique=True, max_size=3)):
            text += f"{KEY_TEXTS[key]} = {draw(toml_values())} # end\n"
    return text


def places(value: object, place: tuple[str | int, ...] = ()) -> set[tuple[str | int, ...]]:
    """Every place of a parsed document."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return {place, *(below for name, inner in children for below in places(inner, (*place, name)))} - {()}


@given(toml_texts())
def test_every_place_of_a_document_has_its_line(text: str) -> None:
    """The scanner finds exactly the places that tomli finds, and each key's text stands on its line."""
    try:
        data = tomli.loads(text)
    except tomli.TOMLDecodeError:
        return
    lines = source.lines(text)
    assert places(data) <= set(lines)
    rows = text.split("\n")
    for place, line in lines.items():
        name = place[-1]
        if isinstance(name, str):
            assert KEY_TEXTS.get(name, name) in rows[line - 1]


def test_windows_line_ends_count_once() -> None:
    assert source.lines("a = 1\r\n\r\nb = '''\r\n'''\r\nc = 1") == {("a",): 1, ("b",): 3, ("c",): 5}


def test_loading_a_shipped_profile_by_name_is_what_show_prints() -> None:
    """`load` gives the same profile as `show --effective` describes."""
    (found,) = (found for found in available() if found.word == "default")
    assert meaning(load(["default"])) == meaning(load_file(found))
