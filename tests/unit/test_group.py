"""The file of a group: what it means, and each mistake in it with its line; the lines of the log."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import tomli
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandrun.errors import ProfileError
from sandrun.group import log, reading
from sandrun.group.model import End, Group, Link
from sandrun.group.order import last
from sandrun.group.reading import read_group

if TYPE_CHECKING:
    from pathlib import Path

TWO = '[command.a]\nargv = ["a"]\n[command.b]\nargv = ["b"]\n'


def read(text: str, path: Path) -> Group:
    file = path / "group.toml"
    file.write_text(f"schema = 1\n{text}")
    file.chmod(0o600)
    return read_group(str(file))


def test_defaults(tmp_path: Path) -> None:
    """A command needs nothing but its words."""
    group = read('[command.a]\nargv = ["a", ""]\n', tmp_path)
    (command,) = group.commands
    assert (command.name, command.argv, command.profiles) == ("a", ("a", ""), ("default",))
    assert dict(command.streams) == {0: "null", 1: "log", 2: "log"}
    assert command.required
    assert not command.restart.on_failure
    assert (group.status, group.links, group.directory) == ("first-failure", (), str(tmp_path))
    assert tomli.loads(command.policy) == {"schema": 1}


def test_links(tmp_path: Path) -> None:
    """Each end is a descriptor: the one that is named, the stream, or the lowest that is free."""
    links = '[pipe.p]\nfrom = "a"\nto = "b:stdin"\n[socketpair.s-1]\nbetween = ["a", "b:7"]\ntype = "seqpacket"\n'
    group = read(TWO + links, tmp_path)
    assert group.links == (
        Link("p", "pipe", End("a", 3), End("b", 0)),
        Link("s-1", "seqpacket", End("a", 4), End("b", 7)),
    )
    first, second = group.commands
    assert dict(second.streams) == {1: "log", 2: "log"}
    assert tomli.loads(first.policy) == {
        "schema": 1,
        "environment": {"set": {"SANDRUN_FD_P": "3", "SANDRUN_FD_S_1": "4"}},
        "process": {"pass_fds": [3, 4]},
    }
    assert tomli.loads(second.policy)["process"] == {"pass_fds": [7]}


def test_what_a_command_says_itself(tmp_path: Path) -> None:
    """The tables of a profile stand in the command; `env` and `cwd` go into them."""
    own = '[command.a]\nargv = ["a"]\ncwd = "/"\nenv = {A = "ä\\u0001\\u007f\\""}\n'
    own += (
        '[command.a.filesystem]\nread = ["x"]\n[command.a.rlimits]\nnofile = 64\n[command.a.environment.set]\nB = "2"\n'
    )
    (command,) = read(own, tmp_path).commands
    assert tomli.loads(command.policy) == {
        "schema": 1,
        "filesystem": {"read": ["x"]},
        "rlimits": {"nofile": 64},
        "environment": {"set": {"A": 'ä\x01\x7f"', "B": "2"}},
        "process": {"cwd": "/"},
    }


def test_order(tmp_path: Path) -> None:
    """A command stands behind those that it starts after, and is stopped before them."""
    text = '[command.a]\nargv = ["a"]\nafter = ["b"]\n[command.b]\nargv = ["b"]\nafter = ["c"]\n[command.c]\nargv = ["c"]\n'
    commands = read(text, tmp_path).commands
    assert [command.name for command in commands] == ["c", "b", "a"]
    assert last(["a", "b", "c"], commands) == ["a"]
    assert last(["b", "c"], commands) == ["b"]
    assert last(["a", "c"], commands) == ["a", "c"]


@pytest.mark.parametrize(
    ("text", "where", "message", "hint"),
    [
        ("", "", "command: a group has 1 to 64 commands", "write [command.NAME]"),
        ('comand = 1\n[command.a]\nargv = ["a"]', ":2", 'comand: unknown key "comand"', 'did you mean "command"?'),
        ("[command.a]", ":2", "command.a.argv: a command needs its words", 'argv = ["PROGRAM", "WORD"]'),
        ("[command.a]\nargv = []", ":3", "command.a.argv: a command has at least one word", None),
        (
            '[command.a]\nargv = "a b"',
            ":3",
            "command.a.argv: expected an array, got a string",
            'a shell is started as ["sh", "-c", "..."]',
        ),
        ('[command."a b"]\nargv = ["a"]', ":2", 'command."a b": not a name: "a b"', None),
        (
            '[command.a]\nargv = ["a"]\nrestart = "on-failur"',
            ":4",
            'command.a.restart: unknown value "on-failur"',
            'did you mean "on-failure"?',
        ),
        (
            '[command.a]\nargv = ["a"]\nprofil = "strict"',
            ":4",
            'command.a.profil: unknown key "profil"',
            'did you mean "profile"?',
        ),
        (
            '[command.a]\nargv = ["a"]\nprofile = "strickt"',
            ":4",
            'command.a.profile: no such profile: "strickt"',
            'did you mean "strict"?',
        ),
        (
            '[command.a]\nargv = ["a"]\n[command.a.filesystem]\nraed = ["x"]',
            ":5",
            'filesystem.raed: unknown key "raed"',
            'did you mean "read"?',
        ),
        (TWO + 'after = ["c"]', ":6", 'command.b.after[0]: unknown command "c"', None),
        (
            '[command.a]\nargv = ["a"]\nafter = ["a"]',
            ":2",
            "command: they start after each other: a -> a",
            None,
        ),
        (
            '[command.a]\nargv = ["a"]\nready = "tcp"',
            ":4",
            'command.a.ready: not a sign that a command is ready: "tcp"',
            'one of "fd", "exit", "tcp:PORT", "file:PATH"',
        ),
        (
            '[command.a]\nargv = ["a"]\nstop_signal = "STOP"',
            ":4",
            'command.a.stop_signal: unknown signal "STOP"',
            None,
        ),
        ('status = "c"\n' + TWO, ":2", 'status: unknown value "c"', None),
        (TWO + '[pipe.p]\nfrom = "a"', ":6", 'pipe.p: it has no "to"', None),
        (
            TWO + '[pipe.p]\nfrom = "a:stdin"\nto = "b"',
            ":7",
            "pipe.p.from: stdin is at the other end of a pipe",
            None,
        ),
        (TWO + '[pipe.p]\nfrom = "a"\nto = "c"', ":8", 'pipe.p.to: unknown command "c"', None),
        (
            TWO + '[pipe.p]\nfrom = "a:5"\nto = "b"\n[pipe.q]\nfrom = "a:5"\nto = "b"',
            ":10",
            "pipe.q.from: file descriptor 5 of a is taken by the link p",
            None,
        ),
        (TWO + '[socketpair.s]\nbetween = ["a"]', ":7", "socketpair.s.between: it is between two commands", None),
        (
            TWO + '[socketpair.s]\nbetween = ["a", "b"]\ntype = "dgram"',
            ":8",
            'socketpair.s.type: unknown value "dgram"',
            None,
        ),
        (
            TWO + 'stdin = "null"\n[pipe.p]\nfrom = "a"\nto = "b:stdin"',
            ":6",
            "command.b.stdin: the link p has it already",
            "leave out one of the two",
        ),
        ('[command.a]\nargv = ["a"]\nenv = {A = 1}', ":4", "command.a.env.A: expected a string, got an integer", None),
    ],
)
def test_mistakes(text: str, where: str, message: str, hint: str | None, tmp_path: Path) -> None:
    """Each mistake is told by its line and key, with what may have been meant."""
    with pytest.raises(ProfileError) as caught:
        read(text, tmp_path)
    problem = caught.value.problems[0]
    assert str(problem) == f"{tmp_path}/group.toml{where}: {message}"
    if hint:
        assert problem.hint is not None
        assert problem.hint.startswith(hint)


def test_all_mistakes_at_once(tmp_path: Path) -> None:
    """A second try is not needed to see the second mistake."""
    with pytest.raises(ProfileError) as caught:
        read('[command.a]\nargv = 1\nrequired = "yes"\n[command.b]\nargv = ["b"]\nx = 1\n', tmp_path)
    assert len(caught.value.problems) == 3


def test_no_value_of_a_variable_is_shown(tmp_path: Path) -> None:
    """Neither in messages nor in the group's representation of what failed."""
    with pytest.raises(ProfileError) as caught:
        read('[command.a]\nargv = ["a"]\nenv = {"B=" = "hunter2"}\n', tmp_path)
    assert "hunter2" not in "".join(caught.value.lines())


KEYS = st.sampled_from(
    [*reading.TOP, *reading.COMMAND, *reading.POLICY, *reading.PIPE, "between", "type", "set", "x y"]
)
WORDS = st.sampled_from(["a", "b:stdin", "a:3", "fd", "tcp:80", "log", "none", "strict", "", "\0", "\u20ac"])
VALUES = st.recursive(
    WORDS | st.integers() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
@given(document=st.dictionaries(KEYS, VALUES, max_size=4), command=st.dictionaries(KEYS, VALUES, max_size=4))
def test_whatever_stands_in_it(document: dict[str, object], command: dict[str, object], tmp_path: Path) -> None:
    """A file is a group or has problems, and what a command says itself is TOML again."""
    document = {"command": {"a": {"argv": ["a"]} | command, "b": {"argv": ["b"]}}} | document
    text = "".join(
        f"{reading._toml(key)} = {reading._toml(value)}\n" for key, value in document.items() if key != "schema"
    )
    try:
        group = read(text, tmp_path)
    except ProfileError:
        return
    for one in group.commands:
        assert tomli.loads(one.policy)["schema"] == 1


@given(st.lists(st.binary(max_size=6000), max_size=6))
def test_lines_of_the_log(parts: list[bytes]) -> None:
    """However it arrives: nothing is lost, no line is longer than it may be, and no control character is left."""
    told: list[bytes] = []
    rest = b""
    for part in parts:
        if part:
            lines, rest = log.split(rest + part, is_last=False)
            told += lines
    lines, rest = log.split(rest, is_last=True)
    told += lines
    assert rest == b""
    assert b"".join(told) == b"".join(parts).replace(b"\n", b"")
    assert all(len(line) <= log.LONGEST for line in told)
    shown = b"".join(map(log.printable, told)).decode()
    assert all(one.isprintable() or one == "\t" for one in shown)


def test_what_a_terminal_could_act_on_is_escaped() -> None:
    """Sequences that move, colour or answer are shown as text."""
    assert log.printable(b"\x1b]0;title\x07\x9b \xff\r") == rb"\x1b]0;title\x07\x9b \xff"
    assert log.printable("ä\u202e\u2028".encode()) == "ä\\u202e\\u2028".encode()
