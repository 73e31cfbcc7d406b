"""`sandrun.Profile`, dicts and overrides: the words and documents that are made of them."""

from __future__ import annotations

import ast
import pickle
import tomllib
from pathlib import Path

import pytest

import sandrun
from sandrun.cli.options import parse
from sandrun.library import toml, words
from sandrun.plan.groups import TLS_VARIABLES
from sandrun.profile.keys import KEYS, TABLE, UNION
from sandrun.profile.layer import read_document
from sandrun.profile.loader import load
from tests.support import CHECKOUT

Profile = sandrun.Profile
EXAMPLES = {
    "bool": True,
    "enum": "",
    "isolate": "signals",
    "path": "/usr",
    "paths": "/usr",
    "string": "name",
    "rules": {"path": "/usr", "access": ["read_file"]},
    "endpoints": "tcp:443",
    "unix": "abstract:x",
    "cidrs": "10.0.0.0/8",
    "families": "netlink",
    "syscalls": "mount",
    "promises": "stdio",
    "syscall-rules": {"syscall": "socket", "arg": 0, "op": "eq", "value": 1, "action": "allow"},
    "user": "root",
    "group": "root",
    "groups": "root",
    "capabilities": "chown",
    "securebits": "noroot",
    "octal": 0o27,
    "nice": 5,
    "fds": 5,
    "namespaces": "net",
    "env-names": "LANG",
    "env-table": "x",
    "rlimit-table": 64,
    "size": "1G",
    "count": 10,
    "percent": "50%",
    "duration": "10s",
}
"""A value for each kind of key, as Python has it."""


def effective(profile: object, **overrides: object) -> dict[str, list[object]]:
    """What the loader makes of the arguments of `run`: the values of each key."""
    wish = words.asked(profile, overrides, None)  # type: ignore[arg-type]
    request = parse([*(f"--profile={one}" for one in wish.profiles), *wish.flags, "true"])
    found = load(request.profiles, request.overrides, replace=request.replace, optional=request.optional)
    return {key: [value.value for value in values] for key, values in found.values.items()}


def test_each_method_returns_a_new_one() -> None:
    """A profile never changes, so that one can be the base of many."""
    base = Profile.default()
    more = base.read("/data")
    assert base == Profile.default() != more
    assert hash(more) == hash(Profile.default().read("/data"))
    with pytest.raises(AttributeError):
        base.entries = ()
    with pytest.raises(AttributeError):
        del base.bases


@pytest.mark.parametrize("key", [key for key in KEYS if key.kind in EXAMPLES], ids=lambda key: key.path)
def test_every_key_has_a_method_and_an_override(key: object) -> None:
    """By its full name; what it writes is read as that key, from TOML and from flags alike."""
    name, value = key.path.replace(".", "_"), EXAMPLES[key.kind] or key.choices[0]
    made = getattr(Profile.none(), name)(nofile=value) if key.merge == TABLE else getattr(Profile.none(), name)(value)
    layer, problems = read_document(tomllib.loads(made.to_toml()), "made", "/", {})
    assert not problems
    assert any(path == key.path or path.startswith(f"{key.path}.") for path in layer.profile.values)
    given = {"nofile": value} if key.merge == TABLE else [value] if key.merge == UNION else value
    wish = words.asked("none", {name: given}, None)
    assert (len(wish.profiles) == 1) == bool(wish.flags)
    if wish.flags:
        overrides = parse([*wish.flags, "true"]).overrides
        assert {override.key for override in overrides} == {key.path}


def test_short_names() -> None:
    """Keys go by the names of their options; a name that is another argument of `run` is no key there."""
    assert "--connect=pypi.org:443" in words.asked("none", {"connect": "pypi.org:443"}, None).flags
    assert "--no-loopback" in words.asked("none", {"loopback": False}, None).flags
    assert "--umask=027" in words.asked("none", {"umask": 0o27}, None).flags
    assert "--rlimit=nofile=64" in words.asked("none", {"rlimit": {"nofile": 64}}, None).flags
    assert "--isolate=true" in words.asked("none", {"isolate": True}, None).flags
    with pytest.raises(sandrun.UsageError):
        words.asked("none", {"timeout": 3}, None)
    assert "--timeout=3" in words.asked("none", {"time_timeout": 3}, None).flags


def test_unknown_names() -> None:
    """A name that is no key is said with what may have been meant, as AttributeError too."""
    with pytest.raises(sandrun.UsageError, match="raed") as caught:
        Profile.default().raed("/")
    assert isinstance(caught.value, AttributeError)
    assert caught.value.hint == 'did you mean "read"?'
    assert not hasattr(Profile.default(), "nothing_like_it")


def test_wrong_calls() -> None:
    """One value for what holds one, names for tables only."""
    for call in (
        lambda: Profile.none().memory(),
        lambda: Profile.none().memory("1G", "2G"),
        lambda: Profile.none().read(nofile=3),
        lambda: Profile.none().rlimit("nofile"),
    ):
        with pytest.raises(sandrun.UsageError):
            call()


def test_lists_grow_and_single_values_are_replaced() -> None:
    """As with flags of a command line."""
    made = (
        Profile.none().read("/usr").read(["/etc", Path("/bin")]).memory("1G").memory("2G").limit(nofile=3).limit(core=0)
    )
    assert made.document() == {
        "filesystem": {"read": ["/usr", "/etc", "/bin"]},
        "resources": {"memory": "2G"},
        "rlimits": {"nofile": 3, "core": 0},
    }


def test_inputs_and_outputs(tmp_path: Path) -> None:
    """They are the tables of `[broker]`, by methods of their own; paths and modes are Python's, and the command is held to them."""
    source, sink = tmp_path / "notes.txt", tmp_path / "shout.txt"
    source.write_text("pears\n")
    made = (
        Profile.default()
        .input("notes", source)
        .input("more", optional=True)
        .output("shout", sink, max_size="1K", line="[A-Z]+", mode=0o640, validator=["grep", "-q", "P"])
        .output("Shout", validator_read=[Path("@system")])
    )
    assert made.document()["broker"] == {
        "input": [{"name": "notes", "path": str(source)}, {"name": "more", "optional": True}],
        "output": [
            {
                "name": "shout",
                "path": str(sink),
                "max_size": "1K",
                "line": "[A-Z]+",
                "mode": "0640",
                "validator": ["grep", "-q", "P"],
            },
            {"name": "Shout", "validator_read": ["@system"]},
        ],
    }
    layer, problems = read_document(tomllib.loads(made.to_toml()), "made", "/", {})
    assert not problems
    assert [len(layer.profile.values[key]) for key in ("broker.input", "broker.output")] == [2, 2]
    made = made.input("more", tmp_path / "absent")
    script = 'tr a-z A-Z <&"$SANDRUN_IN_NOTES" >&"$SANDRUN_OUT_SHOUT"'
    assert sandrun.run(["sh", "-c", script], profile=made).returncode == 0
    assert (sink.read_text(), sink.stat().st_mode & 0o777) == ("PEARS\n", 0o640)
    script = 'echo small >&"$SANDRUN_OUT_SHOUT"'
    assert sandrun.run(["sh", "-c", script], profile=made, stderr=-3).returncode == 123
    assert sink.read_text() == "PEARS\n"
    with pytest.raises(sandrun.ProfileError, match="maxsize"):
        sandrun.run(["true"], profile=Profile.default().output("shout", sink, maxsize=1))


def test_words_and_toml_say_the_same() -> None:
    """Flags, a file and a dict of one profile have the same effect."""
    made = Profile.default().read("/usr/share").connect("tcp:443").limit(nofile=64).replace("network.bind").loopback()
    by_flags = effective(made)
    assert by_flags["network.loopback"] == [True]
    assert effective(made.document()) == by_flags
    request = parse([*made.words(), "true"])
    found = load(request.profiles, request.overrides, replace=request.replace)
    assert {key: [value.value for value in values] for key, values in found.values.items()} == by_flags
    assert tomllib.loads(made.to_toml()) == {"schema": 1, **made.document()}


def test_what_an_option_says_in_a_word_is_a_table_in_a_file() -> None:
    """A file that is written of what was said as on a command line is one that can be read."""
    said = {
        "out": "rules=/tmp/x",
        "in": "notes=/tmp/y",
        "rule": "/tmp=read_file",
        "syscall_rule": "socket:0:eq:1:allow",
    }
    made = Profile.none()
    for name, word in said.items():
        made = getattr(made, name)(word)
    layer, problems = read_document(tomllib.loads(made.to_toml()), "made", "/", {})
    assert not problems
    request = parse([*made.words(), "true"])
    assert {override.key for override in request.overrides} == set(layer.profile.values)
    with pytest.raises(sandrun.UsageError, match="not a name and a path"):
        Profile.none().out("x").to_toml()


def test_values_of_variables_are_not_shown() -> None:
    """They are in the file that is asked for, and in nothing else."""
    made = Profile.none().env("LANG", TOKEN="hunter2")
    assert "hunter2" not in repr(made) + " ".join(made.words()) + repr(made.document())
    assert made.variables() == {"TOKEN": "hunter2"}
    assert "--env=TOKEN" in made.words()
    assert tomllib.loads(made.to_toml())["environment"]["set"] == {"TOKEN": "hunter2"}


def test_pickle() -> None:
    """A profile can be handed to other processes."""
    made = Profile("strict").read("/usr").env(A="b")
    assert pickle.loads(pickle.dumps(made)) == made


def test_what_no_flag_says_is_a_document() -> None:
    """Rules as tables, empty lists, and mistakes, which are complained of as in a file."""
    rule = {"path": "/usr", "access": ["read_file"]}
    assert words.asked("default", {"rule": [rule]}, None).profiles == ("default", {"filesystem": {"rules": [rule]}})
    for document in ({"environment": {"pass": []}}, {"nonsense": 1}, {"filesystem": 3}, {"rlimits": {"nofile": []}}):
        wish = words.asked(document, {}, None)
        assert wish.profiles == (document,)
        assert not wish.flags
    with pytest.raises(sandrun.UsageError):
        Profile.none().rule(rule).words()


def test_several_profiles() -> None:
    """In order, the last one as flags if it can be; a path without a slash is a path all the same."""
    wish = words.asked(["strict", Path("x.toml"), {"filesystem": {"read": ["/usr"]}}], {"memory": "1G"}, None)
    assert wish.profiles == ("strict", "./x.toml", "none")
    assert wish.flags == ("--read=/usr", "--memory=1G")
    assert words.asked("default", {}, None).profiles == ()
    with pytest.raises(sandrun.UsageError, match="not a profile"):
        words.asked(3, {}, None)  # type: ignore[arg-type]


def test_toml_text() -> None:
    """Any strings come back; what TOML does not have is refused."""
    document = {"a": ['x\n"\\\x7f', True, 1, 2.5, {"b c": "ü"}], "t": {"": "v", "é": {"n": []}}}
    assert tomllib.loads(toml.text(document)) == document
    for bad in ({"a": None}, {"a": [object()]}, {3: "x"}):
        with pytest.raises(sandrun.UsageError):
            toml.text(bad)  # type: ignore[arg-type]


def test_variables_that_the_launcher_would_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """They never are in its environment; all others are, and values of this process are there already."""
    for name in ("LD_PRELOAD", "LD_LIBRARY_PATH", "GLIBC_TUNABLES", "PYTHONPATH", "HOME", "XDG_CONFIG_HOME", "TMPDIR"):
        assert not words.inherited(name, "/elsewhere")
    for name in ("OPENSSL_CONF", *TLS_VARIABLES):
        assert not words.inherited(name, "/elsewhere")
    for name in ("A-B", "*", "@all", "1A", "ü", ""):
        assert not words.inherited(name, "x")
    assert words.inherited("TOKEN", "x")
    monkeypatch.setenv("HOME", "/here")
    assert words.inherited("HOME", "/here")


def test_type_checkers_see_every_public_name() -> None:
    """The stub has the names of the package, each from the module that it comes from."""
    tree = ast.parse((CHECKOUT / "sandrun" / "__init__.pyi").read_text())
    seen = {alias.asname: node.module for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen == sandrun._HOMES
    for name in sandrun._HOMES:
        assert getattr(sandrun, name).__module__.startswith("sandrun.")
