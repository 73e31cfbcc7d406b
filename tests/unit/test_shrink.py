"""The search takes away the most that a test allows, asks little, and nothing that it tries grants more."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandrun.errors import SandrunError
from sandrun.profile.diff import LESS, diff
from sandrun.profile.find import Found
from sandrun.profile.loader import load_text
from sandrun.shrink import state
from sandrun.shrink.grants import grants, ladders, render
from sandrun.shrink.search import Answers, Search
from sandrun.shrink.work import Shrinking

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from sandrun.profile.model import Profile

HERE = Found("./app.toml", "/srv/app.toml", "./app.toml")
PROFILE = """\
schema = 1
optional = ["filesystem.write"]

[filesystem]
read = ["/a", "/b"]
write = ["/c", "/d"]  # two
deny = ["/a/secret"]
overlay = ["/e"]
rules = [
    { path = "/r", access = ["read_file", "write_file"] },
    { path = "/s", access = ["read_file"], at = "/t" },
]
tmp = "host"
home = "private"

[network]
connect = ["tcp:443"]
deny = ["tcp:25"]

[environment]
pass = ["HOME"]
set = { X = "1" }

[rlimits]
nofile = 10
"""


# --- the search ----------------------------------------------------------------------------------------------------


@given(
    lengths=st.lists(st.integers(1, 3), max_size=12),
    width=st.integers(1, 4),
    draw=st.data(),
)
def test_the_search_ends_at_the_most(lengths: list[int], width: int, draw: st.DataObject) -> None:
    """With a monotonous test that needs some steps untaken, all others are taken, whatever the width."""
    made: list[tuple[int, ...]] = []
    for length in lengths:
        first = sum(map(len, made))
        made.append(tuple(range(first, first + length)))
    left = [draw.draw(st.integers(0, length)) for length in lengths]
    must_stay = {step for ladder, count in zip(made, left, strict=True) for step in ladder[len(ladder) - count :]}
    asked: list[frozenset[int]] = []

    def ask(several: Sequence[frozenset[int]]) -> list[bool]:
        assert len(several) <= width
        asked.extend(several)
        for taken in several:
            for ladder in made:  # steps are taken in order
                assert taken.intersection(ladder) == set(ladder[: len(taken.intersection(ladder))])
        return [taken.isdisjoint(must_stay) for taken in several]

    assert Search(made, ask, width).run() == frozenset(range(sum(lengths))) - must_stay


@pytest.mark.parametrize("width", [1, 2, 3, 8])
def test_either_of_two_stays(width: int) -> None:
    """Where one of two grants suffices, one of them goes and not both, the first, however many are tried at once."""

    def ask(several: Sequence[frozenset[int]]) -> list[bool]:
        return [not {2, 5} <= taken for taken in several]

    assert Search([(step,) for step in range(8)], ask, width).run() == frozenset(range(8)) - {5}


def test_few_are_asked() -> None:
    """One needed grant of 64 takes about two questions for each halving, by what the answers imply."""
    answers = Answers()
    runs = 0

    def ask(several: Sequence[frozenset[int]]) -> list[bool]:
        nonlocal runs
        for taken in several:
            if answers.known(taken) is None:
                runs += 1
                answers.add(taken, passed=40 not in taken)
        return [bool(answers.known(taken)) for taken in several]

    assert Search([(step,) for step in range(64)], ask).run() == frozenset(range(64)) - {40}
    assert runs <= 13


# --- what can become less ------------------------------------------------------------------------------------------


def test_only_grants_are_looked_at() -> None:
    """Neither what denies or limits, nor overlays, nor rules that show one path at another."""
    found = {(grant.key, grant.text): grant.forms for grant in grants(PROFILE)}
    assert found == {
        ("filesystem.read", '"/a"'): ("filesystem.read", ""),
        ("filesystem.read", '"/b"'): ("filesystem.read", ""),
        ("filesystem.write", '"/c"'): ("filesystem.write", "filesystem.read", ""),
        ("filesystem.write", '"/d"'): ("filesystem.write", "filesystem.read", ""),
        ("filesystem.rules", '"read_file"'): ("filesystem.rules", ""),
        ("filesystem.rules", '"write_file"'): ("filesystem.rules", ""),
        ("filesystem.tmp", '"host"'): ('"host"', '"private"'),
        ("filesystem.home", '"private"'): ('"private"', '"hidden"'),
        ("network.connect", '"tcp:443"'): ("network.connect", ""),
        ("environment.pass", '"HOME"'): ("environment.pass", ""),
    }


@given(draw=st.data())
def test_whatever_is_taken_allows_less(draw: st.DataObject) -> None:
    """Every set of steps gives a valid profile that allows nothing more, and says all else in the same words."""
    found = grants(PROFILE)
    taken: set[int] = set()
    for ladder in ladders(found):
        taken.update(ladder[: draw.draw(st.integers(0, len(ladder)))])
    text = render(PROFILE, found, frozenset(taken))
    changes = diff(load_text(HERE, PROFILE), load_text(HERE, text))
    assert {change.sign for change in changes} <= {LESS}
    assert bool(changes) == bool(taken)
    for line in ('deny = ["/a/secret"]', '{ path = "/s", access = ["read_file"], at = "/t" },', "nofile = 10", "# two"):
        assert line in text


# --- the work ------------------------------------------------------------------------------------------------------


def _needs(*texts: str) -> Callable[[Sequence[Profile]], list[bool]]:
    """A test that passes while the profile reads or writes all these paths."""

    def attempt(profiles: Sequence[Profile]) -> list[bool]:
        return [
            {*texts}
            <= {
                value.value.text
                for key in ("filesystem.read", "filesystem.write")
                for value in profile.items(key)
                if hasattr(value.value, "text")
            }
            for profile in profiles
        ]

    return attempt


@pytest.mark.parametrize("width", [1, 3])
def test_what_the_test_needs_stays(width: int) -> None:
    """One entry stays, one becomes readable only, the rest goes."""
    work = Shrinking(HERE, PROFILE, _needs("/b", "/d"), Answers(), 100)
    result = work.shrink(width)
    profile = load_text(HERE, result.text)
    assert result.complete
    assert [value.value.text for value in profile.items("filesystem.read")] == ["/b", "/d"]  # type: ignore[attr-defined]
    for key in ("filesystem.write", "network.connect", "environment.pass"):
        assert (key in profile.values, profile.items(key)) == (True, ())
    assert profile.items("filesystem.deny")
    assert work.runs < 20


def test_an_emptied_list_stays() -> None:
    """The key is kept with an empty list: without it, the environment would be the default again, which is more."""
    work = Shrinking(HERE, '[environment]\npass = ["A"]\n', _needs(), Answers(), 100)
    assert work.shrink(1).text == "[environment]\npass = []\n"


def test_the_tries_are_bounded() -> None:
    """What has passed until then is the result."""
    work = Shrinking(HERE, PROFILE, _needs("/b", "/d"), Answers(), 4)
    result = work.shrink(1)
    assert (result.complete, work.runs) == (False, 4)
    assert _needs("/b", "/d")([load_text(HERE, result.text)]) == [True]


def test_answers_are_kept(tmp_path: Path) -> None:
    """A search that goes on from the answers of another ends where it would have, without asking twice."""
    whole = Shrinking(HERE, PROFILE, _needs("/b", "/d"), Answers(), 100)
    expected = whole.shrink(1).text
    first = Shrinking(HERE, PROFILE, _needs("/b", "/d"), Answers(), 4)
    first.shrink(1)
    path = tmp_path / "state"
    assert state.load(str(path), "x").passed == []
    path.write_text(json.dumps(state.document(first.answers, "x")))
    second = Shrinking(HERE, PROFILE, _needs("/b", "/d"), state.load(str(path), "x"), 100)
    assert second.shrink(1).text == expected
    assert first.runs + second.runs == whole.runs
    with pytest.raises(SandrunError, match="another"):
        state.load(str(path), "y")


@pytest.mark.parametrize("text", ["", "[]", "{}", "\udcff", '{"about": "x", "passed": 1, "failed": []}', "[" * 5000])
def test_a_state_that_is_none(tmp_path: Path, text: str) -> None:
    """Whatever stands in the file, there is a message."""
    path = tmp_path / "state"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(SandrunError, match="not made by sandrun shrink"):
        state.load(str(path), "x")


def test_a_lying_state_grants_nothing(tmp_path: Path) -> None:
    """Answers that somebody made up can take too much away, which the last run of the test finds, and never add."""
    lies = Answers([frozenset(range(100))], [])
    work = Shrinking(HERE, PROFILE, _needs("/b"), lies, 100)
    result = work.shrink(1)
    assert {change.sign for change in diff(work.profile, load_text(HERE, result.text))} == {LESS}


# --- what is inherited ---------------------------------------------------------------------------------------------

BASE = """\
[filesystem]
read = ["/a", "${PROFILE_DIR}/b"]
write = ["/c"]
tmp = "private"
[environment]
pass = ["HOME"]
"""
LONG = [f"/a/long/name/{number:03}" for number in range(9)]


@pytest.mark.parametrize(
    ("own", "after"),
    [
        (
            'extends = "./base.toml"  # the base\n',
            'extends = "./base.toml"  # the base\nreplace = ["filesystem.write", "environment.pass"]\n\n[filesystem]\n'
            'write = []\nread = ["/c"]\n\n[environment]\npass = []\n',
        ),
        (
            'extends = "./base.toml"\n[environment]\n# none\n[filesystem]\nread = ["/x"]\n# the end',
            'extends = "./base.toml"\nreplace = ["filesystem.write", "environment.pass"]\n[environment]\npass = []\n# none\n'
            '[filesystem]\nread = ["/c"]\nwrite = []\n# the end',
        ),
        (
            'replace = ["network.connect"]\nextends = "./base.toml"\nfilesystem = { write = ["/x"] }\n',
            'replace = ["network.connect", "filesystem.write", "environment.pass"]\nextends = "./base.toml"\n'
            'filesystem = { write = [], read = ["/c"] }\n\n[environment]\npass = []\n',
        ),
        (
            'extends = "./base.toml"\nenvironment.set.X = "1"\n',  # a table that cannot be made below
            'extends = "./base.toml"\nreplace = ["filesystem.write"]\nenvironment.set.X = "1"\n\n[filesystem]\n'
            'write = []\nread = ["/c"]\n',
        ),
    ],
)
def test_what_is_inherited_can_go(tmp_path: Path, own: str, after: str) -> None:
    """Only lists of which something goes are written out, in the layout of the file, the rest stays inherited."""
    (tmp_path / "base.toml").write_text(BASE)
    found = Found("./app.toml", str(tmp_path / "app.toml"), "./app.toml")
    work = Shrinking(found, own, _needs("/a", "${PROFILE_DIR}/b", "/c"), Answers(), 100, inherited=True)
    result = work.shrink(1)
    assert result.text == after
    profile = load_text(found, after)
    assert {change.sign for change in diff(work.profile, profile)} == {LESS}
    assert profile.scalar("filesystem.tmp") is not None
    origins = {grant.inherited for grant in work.grants if grant.text == '"/c"'}
    assert origins == {f"{tmp_path}/base.toml:3: filesystem.write[0]"}


def test_a_list_that_is_short_is_one_line(tmp_path: Path) -> None:
    """What was too long for a line when it was written out is not once most of it went."""
    (tmp_path / "base.toml").write_text(f"filesystem.read = {LONG}\n")
    found = Found("./app.toml", str(tmp_path / "app.toml"), "./app.toml")
    work = Shrinking(found, 'extends = "./base.toml"\n', _needs(*LONG[:2]), Answers(), 100, inherited=True)
    expected = 'extends = "./base.toml"\nreplace = ["filesystem.read"]\n\n[filesystem]\nread = ["{}", "{}"]\n'
    assert work.shrink(1).text == expected.format(*LONG[:2])
