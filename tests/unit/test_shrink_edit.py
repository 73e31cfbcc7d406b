"""Editing a profile's text changes what was asked for, and nothing else of it."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandrun.shrink.edit import append, edit, on_one_line

READ, WRITE = ("filesystem", "read"), ("filesystem", "write")
SHORT = '[filesystem]\nread = ["a", "b", "c"]  # all\n'
LONG = """\
[filesystem]
# above
read = [
    # about a
    "a",  # of a
    "b", # of b
    "c"
]
"""


@pytest.mark.parametrize(
    ("text", "removed", "after"),
    [
        (SHORT, [0], SHORT.replace('"a", ', "")),
        (SHORT, [1], SHORT.replace('"b", ', "")),
        (SHORT, [2], SHORT.replace(', "c"', "")),
        (SHORT, [0, 1, 2], "[filesystem]\nread = []  # all\n"),
        (LONG, [0], LONG.replace('    "a",  # of a\n', "")),
        (LONG, [2], LONG.replace('    "c"\n', "")),
        (LONG, [1, 2], LONG.replace('    "b", # of b\n    "c"\n', "")),
        (LONG, [0, 1, 2], "[filesystem]\n# above\nread = [\n    # about a\n]\n"),
        (LONG.replace("\n", "\r\n"), [1], LONG.replace('    "b", # of b\n', "").replace("\n", "\r\n")),
        ("filesystem = { read = ['a', 'b',], tmp = 'host' }", [1], "filesystem = { read = ['a',], tmp = 'host' }"),
        ('filesystem.read = [ "a"\n , "b" ]', [0], 'filesystem.read = [ \n  "b" ]'),
        ('filesystem.read = [ "a"\n , "b" ]', [1], 'filesystem.read = [ "a"\n  ]'),
    ],
)
def test_entries_are_taken_out(text: str, removed: list[int], after: str) -> None:
    """With their comma, their line if it is theirs alone, and the comment behind them; other comments stay."""
    assert edit(text, {(*READ, index) for index in removed}, {}, {}) == after


@pytest.mark.parametrize(
    ("text", "after"),
    [
        (
            '[filesystem]\nread = ["a"]\nwrite = ["b", "c"]\n',
            '[filesystem]\nread = ["a", "b"]\nwrite = ["c"]\n',
        ),
        ('[filesystem]\nwrite = ["b", "c"]', '[filesystem]\nwrite = ["c"]\nread = ["b"]'),
        (
            'filesystem.write = ["b"]  # x\nschema = 1',
            'filesystem.write = []  # x\nfilesystem.read = ["b"]\nschema = 1',
        ),
        ('filesystem = { write = ["b"], tmp = "host" }', 'filesystem = { write = [], read = ["b"], tmp = "host" }'),
        (
            '[filesystem]\nread = [\n  "a" # of a\n]\nwrite = [\n    "b", # of b\n]\n',
            '[filesystem]\nread = [\n  "a", # of a\n  "b",  # of b\n]\nwrite = []\n',
        ),
        (
            '[filesystem]\nread = ["a"]\nwrite = [\n    "b", # of b\n]\n',
            '[filesystem]\nread = ["a",\n    "b"  # of b\n]\nwrite = []\n',
        ),
        (
            '[filesystem]\nwrite = [\n    "b", # of b\n    "c",\n]\n',
            '[filesystem]\nwrite = [\n    "c",\n]\nread = [\n    "b",  # of b\n]\n',
        ),
        ('[filesystem]\nread = ["b"]\nwrite = ["b"]\n', '[filesystem]\nread = ["b"]\nwrite = []\n'),
        ('[filesystem]\nread = [] # x\nwrite = ["b"]\n', '[filesystem]\nread = ["b"] # x\nwrite = []\n'),
        (
            '[filesystem]\nread = [\n# none\n]\nwrite = ["b"]\n',
            '[filesystem]\nread = [\n# none\n    "b",\n]\nwrite = []\n',
        ),
    ],
)
def test_entries_are_moved(text: str, after: str) -> None:
    """To the end of the other array, in its style, with the comment behind them; an array that is missing is made."""
    assert edit(text, (), {(*WRITE, 0): READ}, {}) == after


def test_a_rule_is_a_block() -> None:
    """A table of an array of tables goes with its header and its lines, and not with the comment of the next one."""
    text = '[[filesystem.rules]]\npath = "a" # of a\naccess = []\n\n# about b\n[[filesystem.rules]]\npath = "b"\naccess = []\n'
    after = text[text.index("\n# about") :]
    assert edit(text, {("filesystem", "rules", 0)}, {}, {}) == after
    inline = 'filesystem.rules = [{ path = "a", access = ["read_file", "read_dir"] }, { path = "b", access = [] }]'
    place = ("filesystem", "rules", 0)
    assert edit(inline, {place}, {}, {}) == 'filesystem.rules = [{ path = "b", access = [] }]'
    assert edit(inline, {(*place, "access", 1)}, {}, {}) == inline.replace(', "read_dir"', "")


def test_scalars_are_replaced() -> None:
    """The value alone is another one."""
    text = "[filesystem]\ntmp = 'host'   # for now\nread = ['a']\n"
    after = text.replace("'host'", '"private"').replace("'a'", "")
    assert edit(text, {(*READ, 0)}, {}, {("filesystem", "tmp"): '"private"'}) == after


WORDS = st.text(st.sampled_from("ab#,[]\"'\\ \n"), max_size=4)
GAPS = st.sampled_from(["", " ", "  ", "\n", "\n    ", " # x, [\n", "\n# it's \"y\n  ", "\r\n\t"])


def _string(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


@st.composite
def arrays(draw: st.DrawFn) -> tuple[list[str], str]:
    """Some strings, and a text of their array."""
    words = draw(st.lists(WORDS, max_size=5, unique=True))
    text = "[" + draw(GAPS)
    for number, word in enumerate(words, 1):
        last = number == len(words)
        comma = draw(st.booleans()) if last else True
        text += _string(word) + (draw(GAPS) + "," + draw(GAPS) if comma else draw(GAPS))
    return words, text + "]"


@st.composite
def documents(draw: st.DrawFn) -> tuple[str, dict[str, list[str]]]:
    """A profile with arrays written in any way, and what they hold."""
    data: dict[str, list[str]] = {}
    statements = []
    for name in draw(st.permutations(["read", "write", "execute"]))[: draw(st.integers(1, 3))]:
        data[name], text = draw(arrays())
        statements.append(f"{name}{draw(st.sampled_from(['', ' ']))}= {text}")
    style = draw(st.sampled_from(["table", "dotted", "inline"]))
    behind = draw(st.sampled_from(["", " # end", "\n\n", "\n# end"]))
    if style == "inline":
        return f"filesystem = {{ {', '.join(statements)} }}{behind}", data
    lines = [statement if style == "table" else f"filesystem . {statement}" for statement in statements]
    return "[filesystem]\n" * (style == "table") + (behind + "\n").join(lines), data


@given(document=documents(), draw=st.data())
def test_any_text_says_afterwards_what_it_should(
    document: tuple[str, dict[str, list[str]]], draw: st.DataObject
) -> None:
    """However arrays are written, after an edit they hold what is to be left, in order, then what came."""
    text, data = document
    expected: dict[str, Any] = {name: list(words) for name, words in data.items()}
    assert tomllib.loads(text)["filesystem"] == expected
    removed, moved = set(), {}
    for name in data:
        for index, word in enumerate(data[name]):
            fate = draw.draw(st.sampled_from(["keep", "remove", "move"]))
            place = ("filesystem", name, index)
            if fate == "keep" or (fate == "move" and name != "write"):
                continue
            expected[name].remove(word)
            if fate == "remove":
                removed.add(place)
            else:
                moved[place] = READ
    arriving = [data["write"][place[2]] for place in sorted(moved)]
    if arriving:
        expected.setdefault("read", [])
        expected["read"] += [word for word in arriving if word not in expected["read"]]
    assert tomllib.loads(edit(text, removed, moved, {}))["filesystem"] == expected


@given(document=documents(), name=st.sampled_from(["read", "write", "execute"]), words=st.lists(WORDS, unique=True))
def test_entries_are_appended(document: tuple[str, dict[str, list[str]]], name: str, words: list[str]) -> None:
    """To any list, or a new one, in any layout; on one line it says the same."""
    text, data = document
    place = ("filesystem", name)
    appended = append(text, place, map(_string, words))
    assert appended is not None
    expected = {**data, name: [*data.get(name, []), *(word for word in words if word not in data.get(name, []))]}
    assert tomllib.loads(appended)["filesystem"] == expected
    assert tomllib.loads(on_one_line(appended, [place]))["filesystem"] == expected


def test_there_may_be_no_place_for_a_list() -> None:
    """A key that a new one would have to stand behind is missing, or the table is a value that has no keys."""
    assert append("schema = 1\n", ("replace",), ["1"], behind=("extends",)) is None
    assert append("filesystem = {}\n", ("filesystem", "read"), ["1"]) is None
    assert append("schema = 1", ("filesystem", "read"), ["1"]) == "schema = 1\n\n[filesystem]\nread = [1]\n"
