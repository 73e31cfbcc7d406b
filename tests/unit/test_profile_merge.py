"""The laws of composing profiles, over profiles of every shape."""

from __future__ import annotations

from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandrun.errors import ProfileError
from sandrun.profile.merge import EMPTY, contradictions, drop, merge
from sandrun.profile.model import Limit, Origin, PathEntry, Profile, Value

LISTS = ("filesystem.read", "filesystem.deny", "syscalls.allow")
SCALARS = ("filesystem.tmp", "time.timeout")
NAMES = ("rlimits.nofile", "rlimits.core")

origins = st.builds(Origin, st.sampled_from(["a.toml", "b.toml"]), st.sampled_from(["k[0]", "k[1]"]), st.just(0))
words = st.sampled_from(["/a", "/b", "/c", "${PROFILE_DIR}/d"])


def typed(values: st.SearchStrategy[object]) -> st.SearchStrategy[Value]:
    return st.builds(Value, values, origins, st.booleans())


@st.composite
def profiles(draw: st.DrawFn, *, defaults: bool = False) -> Profile:
    """A profile as one layer gives it: what is in `values` was asked for, and lists repeat nothing."""
    values: dict[str, tuple[Value, ...]] = {}
    for key in draw(st.sets(st.sampled_from(LISTS))):
        entries = typed(st.builds(lambda text: PathEntry(text, path=text), words))
        values[key] = tuple(draw(st.lists(entries, unique_by=lambda value: value.value, max_size=3)))
    for key in draw(st.sets(st.sampled_from(SCALARS))):
        values[key] = (draw(typed(st.integers(0, 3))),)
    for key in draw(st.sets(st.sampled_from(NAMES))):
        values[key] = (draw(typed(st.builds(Limit, st.integers(0, 3), st.none()))),)
    if defaults and draw(st.booleans()):
        values["syscalls.default"] = (draw(typed(st.sampled_from(["errno", "allow"]))),)
    require = tuple(
        draw(st.lists(typed(st.sampled_from(["userns", "landlock>=4"])), unique_by=lambda value: value.value))
    )
    asked = MappingProxyType({key: several for key, several in values.items() if several})
    name = draw(st.sampled_from(["", "p", "q"]))
    return Profile(name, name, (name,) if name else (), MappingProxyType(values), asked, require)


def tried(*steps: Profile) -> Profile | str:
    """The merge of all from the left, or "contradiction"."""
    merged = EMPTY
    try:
        for step in steps:
            merged = merge(merged, step)
    except ProfileError:
        return "contradiction"
    return merged


@given(profiles(), profiles(), profiles())
def test_merging_is_associative(a: Profile, b: Profile, c: Profile) -> None:
    """It does not matter whether a profile extends two others or one that extends the other."""
    assert merge(merge(a, b), c) == merge(a, merge(b, c))


@given(profiles(defaults=True), profiles(defaults=True), profiles(defaults=True))
def test_contradictions_are_found_in_any_grouping(a: Profile, b: Profile, c: Profile) -> None:
    left = tried(a, b, c)
    try:
        right: Profile | str = merge(a, merge(b, c))
    except ProfileError:
        right = "contradiction"
    assert left == right


@given(profiles(defaults=True))
def test_the_empty_profile_changes_nothing(a: Profile) -> None:
    assert merge(EMPTY, a) == a
    assert merge(a, EMPTY) == a


@given(profiles(defaults=True))
def test_a_profile_twice_is_the_profile_once(a: Profile) -> None:
    assert merge(a, a) == a


@given(profiles(), profiles())
def test_grants_and_denials_add_up(a: Profile, b: Profile) -> None:
    """Nothing that one layer lists is lost, in either order, and nothing is there twice."""
    ab, ba = merge(a, b), merge(b, a)
    for key in LISTS:
        together = {value.value for value in (*a.items(key), *b.items(key))}
        assert {value.value for value in ab.items(key)} == together == {value.value for value in ba.items(key)}
    assert {value.value for value in ab.require} == {value.value for value in (*a.require, *b.require)}


@given(profiles(), profiles())
def test_the_order_of_a_list_is_the_order_of_the_layers(a: Profile, b: Profile) -> None:
    """What the first layer lists stands first, as it listed it."""
    for key in LISTS:
        first = a.items(key)
        assert merge(a, b).items(key)[: len(first)] == first


@given(profiles(), profiles())
def test_the_later_scalar_wins(a: Profile, b: Profile) -> None:
    """Also name by name in a table."""
    merged = merge(a, b)
    for key in (*SCALARS, *NAMES):
        assert merged.scalar(key) == (b.scalar(key) or a.scalar(key))


@given(profiles(), profiles())
def test_optional_holds_only_where_all_that_ask_agree(a: Profile, b: Profile) -> None:
    """A later layer cannot make what an earlier one insists on optional, nor lose its own insistence to repetition."""
    merged = merge(a, b)
    for key in (*LISTS, *SCALARS, *NAMES):
        asks = [value.optional for value in (*a.items(key), *b.items(key))]
        assert merged.is_optional(key) is (bool(asks) and all(asks))


@given(profiles(), st.sampled_from([*LISTS, *SCALARS, *NAMES, "rlimits"]))
def test_replace_drops_all_of_a_key_and_nothing_else(a: Profile, key: str) -> None:
    """What is dropped is asked for no longer, is recorded if there was something, and dropping again changes nothing."""
    word = Value(key, Origin("r.toml", "replace[0]"))
    left = drop(a, [word])
    gone = {name for name in a.values if name == key or name.startswith(key + ".")}
    assert set(left.values) == set(a.values) - gone
    assert not gone & set(left.asked)
    assert left.replaced == ((word,) if gone else ())
    assert drop(left, [word]) == left
    assert all(left.values[name] == a.values[name] for name in left.values)


@given(profiles(), profiles(), st.sampled_from([*LISTS, *SCALARS]))
def test_replace_distributes_over_merging(a: Profile, b: Profile, key: str) -> None:
    word = [Value(key, Origin("r.toml", "replace[0]"))]
    assert drop(merge(a, b), word).values == merge(drop(a, word), drop(b, word)).values


def entry(text: str, source: str = "a.toml", directory: str = "") -> Value:
    return Value(PathEntry(text, path=text), Origin(source, "filesystem.read[0]", 2, directory))


def of(**values: Value) -> Profile:
    mapping = MappingProxyType({key.replace("__", "."): (value,) for key, value in values.items()})
    return Profile("p", values=mapping, asked=mapping)


def test_profile_dir_is_another_place_in_another_profile() -> None:
    """Two entries spelled alike are one, unless they name the directory of their own profile."""
    ours, theirs = entry("${PROFILE_DIR}/x", directory="/one"), entry("${PROFILE_DIR}/x", directory="/two")
    assert merge(of(filesystem__read=ours), of(filesystem__read=theirs)).items("filesystem.read") == (ours, theirs)
    ours, theirs = entry("x", directory="/one"), entry("x", directory="/two")
    assert merge(of(filesystem__read=ours), of(filesystem__read=theirs)).items("filesystem.read") == (ours,)


def test_two_syscall_defaults_contradict_each_other() -> None:
    """The error names both places and the way out; the same default twice is none."""
    ours = Value("errno", Origin("a.toml", "syscalls.default", 3))
    theirs = Value("allow", Origin("b.toml", "syscalls.default", 7))
    with pytest.raises(ProfileError) as caught:
        merge(of(syscalls__default=ours), of(syscalls__default=theirs))
    assert caught.value.lines() == [
        'b.toml:7: syscalls.default: "allow" contradicts "errno" of a.toml:3: syscalls.default',
        'hint: replace = ["syscalls.default"], or --replace syscalls.default, drops the earlier one',
    ]
    same = theirs._replace(value="errno")
    assert merge(of(syscalls__default=ours), of(syscalls__default=same)).scalar("syscalls.default") == same


@pytest.mark.parametrize(
    ("granted", "denied", "clash"),
    [
        (("filesystem.read", "/srv"), ("filesystem.deny", "/srv"), True),
        (("filesystem.read", "/srv/"), ("filesystem.deny", "/srv/./"), True),
        (("filesystem.execute", "/srv"), ("filesystem.deny", "/srv"), True),
        (("filesystem.write", "/srv"), ("filesystem.deny_write", "/srv"), True),
        (("filesystem.read", "/srv"), ("filesystem.deny_write", "/srv"), False),
        (("filesystem.read", "/srv"), ("filesystem.deny", "/srv/x"), False),
        (("filesystem.read", "srv"), ("filesystem.deny", "/srv"), False),
    ],
)
def test_one_entry_granted_and_denied(granted: tuple[str, str], denied: tuple[str, str], clash: bool) -> None:
    """A contradiction within one file is found by what the entries name; a hole in a grant is none."""
    values = {granted[0]: (entry(granted[1]),), denied[0]: (entry(denied[1]),)}
    assert bool(contradictions(values)) is clash
