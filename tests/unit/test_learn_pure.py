"""What `sandrun learn` decides without running anything: tiers, patterns, collapsing, syscalls, and the text of profiles."""

from __future__ import annotations

import posixpath
from typing import Any

import pytest
import tomli
from hypothesis import given, settings
from hypothesis import strategies as st

from sandrun.learn import calls, text
from sandrun.learn.collapse import FEWEST, Evidence, collapse, cover, together
from sandrun.learn.compose import MOST_LINES, Circumstances, Run, compose
from sandrun.learn.derive import Scene, spell
from sandrun.learn.endpoints import derive_network
from sandrun.learn.limits import limits
from sandrun.learn.merge import Old, merge
from sandrun.learn.patterns import generalise, is_changing, pattern
from sandrun.learn.tiers import HOME, SYSTEM, WIDE, is_below, tiers
from sandrun.learn.uses import ENTER, EXECUTE, LIST, MAKE, READ, WRITE, Peer, Use, Uses
from sandrun.learn.variables import candidates, known_to
from sandrun.observe.events import ABSENT, DIRECTORY, FILE, Address, Event, Place
from sandrun.plan.groups import TEMPORARY
from sandrun.policy import syscalls
from sandrun.primitives.landlock import FS
from sandrun.profile.layer import read_document, read_flags
from sandrun.profile.merge import EMPTY
from sandrun.profile.model import Origin, Value
from sandrun.profile.paths import expand, parse
from sandrun.profile.source import lines as lines_of_text
from tests.fakes import FakeHost, directory, file, program

ONCE = Evidence(("cat",), 1, 0.5)
ALICE = tiers("/home/alice", ("/root", "/home/bob"))
NAMES = st.sampled_from(["a", "b", "c", "d", "e", ".ssh", "share", "x y", "[1]", "lib"])
PATHS = st.lists(NAMES, min_size=1, max_size=5).map(lambda names: "/" + "/".join(names))
HOME_PATHS = PATHS.map(lambda path: "/home/alice" + path)
TREES = st.dictionaries(st.one_of(PATHS, HOME_PATHS), st.just(ONCE), max_size=40)


# --- tiers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [path for paths in SYSTEM.values() for path in paths])
def test_a_system_secret_is_in_a_tier_and_so_is_what_lies_below(path: str) -> None:
    assert ALICE.of(path)
    assert ALICE.of(path + "/below")


@pytest.mark.parametrize("name", [name for names in HOME.values() for name in names])
def test_no_directory_above_or_at_a_secret_of_a_home_may_be_covered(name: str) -> None:
    path = f"/home/alice/{name}"
    while path:
        assert not ALICE.may_cover(path or "/"), path
        path = posixpath.dirname(path) if path != "/" else ""


@pytest.mark.parametrize("path", WIDE)
def test_a_wide_directory_is_never_covered(path: str) -> None:
    assert not ALICE.may_cover(path)


def test_homes_of_others_are_a_tier_but_where_the_user_works_is_not() -> None:
    assert ALICE.of("/home/bob/file")
    assert not tiers("/home/alice", ("/home/bob",), "/home/bob/shared").of("/home/bob/shared/x")
    assert ALICE.of("/home/bobby/x") == ""


# --- collapsing ----------------------------------------------------------------------------------------------------


@given(TREES, st.integers(1, 30), st.integers(1, 8))
def test_collapsing_covers_everything_and_nothing_that_is_refused(
    uses: dict[str, Evidence], most: int, enough: int
) -> None:
    """Each use is covered; an entry that was no use is one that may be covered; none lies in another; the sums agree."""
    found = collapse(uses, ALICE.may_cover, most, enough)
    assert all(cover(path, found) for path in uses)
    assert all(path in uses or ALICE.may_cover(path) for path in found)
    assert not any(path != other and is_below(path, other) for path in found for other in found)
    assert sum(evidence.times for evidence in found.values()) == len(uses)
    assert len(found) <= len(uses)


@given(TREES, st.randoms())
def test_the_order_of_events_does_not_matter(uses: dict[str, Evidence], random: object) -> None:
    shuffled = list(uses.items())
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert collapse(uses, ALICE.may_cover, 5) == collapse(dict(shuffled), ALICE.may_cover, 5)


@given(TREES)
def test_every_entry_that_is_no_use_has_evidence_for_it(uses: dict[str, Evidence]) -> None:
    for path in collapse(uses, ALICE.may_cover, 5):
        names = {other[len(path) :].split("/")[1] for other in uses if other.startswith(path + "/")}
        assert path in uses or len(names) >= FEWEST


def test_a_secret_beside_ordinary_files_stays_out_of_the_entry() -> None:
    uses = {f"/home/alice/{name}": ONCE for name in ("a", "b", "c", "d", "e", ".ssh/config")}
    assert collapse(uses, ALICE.may_cover, 2) == dict(sorted(uses.items()))


def test_evidence_says_who_how_often_and_when() -> None:
    both = together([Evidence(("git",), 2, 1.5), Evidence(("sh", "git"), 1, 0.25)])
    assert str(both) == "sh, git: 3 times, first after 0.25s"
    assert str(Evidence(("a", "b", "c", "d"), 1, 0)) == "a, b, c and 1 more: once, first after 0.00s"


# --- patterns ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("libfoo.so", "libfoo.so"),
        ("python3", "python3"),
        ("x86_64-linux-gnu", "x86_64-linux-gnu"),
        ("requests-2.31.0.dist-info", "requests-[0-9]*.dist-info"),
        ("v1.2.3", "v[0-9]*"),
        ("550e8400-e29b-41d4-a716-446655440000", "[0-9a-f]*"),
        ("cache-550e8400-e29b-41d4-a716-446655440000.db", "cache-*.db"),
        ("3f2a9c0d1b4e5f60", "[0-9a-f]*"),
        ("daemon.12345", "daemon.12345"),
        ("run-12345", "run-[0-9]*"),
        ("tmpab12cd34", "tmp*"),
        ("build.Xa8Zq1", "build.*"),
        ("deadline", "deadline"),
        ("[1]?", "[[]1][?]"),
        (".550e8400-e29b-41d4-a716-446655440000", ".550e8400-e29b-41d4-a716-446655440000"),
    ],
)
def test_what_changes_from_run_to_run_becomes_a_wildcard(name: str, expected: str) -> None:
    assert pattern(name) == expected


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1), min_size=1, max_size=4))
def test_a_pattern_is_in_the_grammar_and_means_the_path_that_it_was_made_of(names: list[str]) -> None:
    names = [name if name not in (".", "..") else "x" for name in names]
    path = "/" + "/".join(names)
    host = FakeHost({path: file()})
    entry = parse(generalise(path))
    assert path in expand(Value(entry, Origin("", "")), host, "/home/alice")


@given(st.from_regex(r"[a-z]{1,8}-[0-9]{1,3}\.[0-9]{1,3}(\.[a-z]{2,4})?", fullmatch=True))
def test_another_version_is_matched_and_another_word_is_not(name: str) -> None:
    head, _, tail = name.partition("-")
    host = FakeHost({f"/d/{name}": file(), f"/d/{head}-private": file(), f"/d/other-{tail}": file()})
    assert is_changing(name)
    assert expand(Value(parse(f"/d/{pattern(name)}"), Origin("", "")), host, "") == [f"/d/{name}"]


# --- syscalls ------------------------------------------------------------------------------------------------------


@given(st.sets(st.sampled_from(sorted(syscalls.numbers("x86_64")))))
def test_the_list_of_syscalls_allows_all_that_was_seen(seen: set[str]) -> None:
    found = calls.cover(dict.fromkeys(seen, 1), "x86_64")
    allowed = {number for name, _ in found.entries for number in syscalls.meaning(name, "x86_64").numbers}
    assert {syscalls.numbers("x86_64")[name] for name in seen} <= allowed
    assert set(found.unusual) <= seen


def test_no_set_of_administrators_takes_the_place_of_a_name() -> None:
    found = calls.cover({"mount": 1, "umount2": 2, "pivot_root": 1, "read": 9, "write": 3}, "x86_64")
    assert [name for name, _ in found.entries] == ["@default", "@basic-io", "umount2", "mount", "pivot_root"]
    assert found.unusual == ("umount2", "mount", "pivot_root")


def test_a_syscall_without_a_name_is_allowed_by_its_number() -> None:
    assert ("999", ("999",)) in calls.cover({"#999": 1}, "x86_64").entries


# --- events --------------------------------------------------------------------------------------------------------


def _event(syscall: str, path: str, kind: str, act: str, *, flags: int = 0, rights: int = 0, refused: int = 0) -> Event:
    place = Place(path, path, kind, act, rights)
    return Event(1.0, 7, 7, "/usr/bin/tool", syscall, (0, 0, flags, 0, 0, 0), (place,), refused=refused)


def _see(*events: Event, refuse: str = "/refused") -> Uses:
    uses = Uses(lambda path, _rights: not is_below(path, refuse), lambda path: is_below(path, refuse))
    for event in events:
        uses.see(event)
    return uses


def _done(uses: Uses) -> set[tuple[str, str]]:
    return {(use.path, use.done) for use in uses.places}


def test_what_is_not_there_needs_no_rule_and_what_is_asked_about_neither() -> None:
    uses = _see(_event("openat", "/a", ABSENT, "read"), _event("newfstatat", "/b", FILE, "look"))
    assert not uses.places


def test_what_a_filter_or_the_cage_refuses_is_no_evidence() -> None:
    uses = _see(
        _event("openat", "/a", FILE, "read", refused=1),
        _event("openat", "/refused/b", FILE, "read", rights=FS["read_file"]),
    )
    assert not uses.places
    assert uses.blocked == {"openat": 1}
    assert [use.path for use in uses.refused] == ["/refused/b"]
    hidden = _see(_event("openat", "/refused/key", ABSENT, "read", rights=FS["read_file"]))
    assert [use.path for use in hidden.refused] == ["/refused/key"]


def test_new_files_are_granted_by_the_directory_that_was_there() -> None:
    uses = _see(
        _event("mkdir", "/p/new", ABSENT, "create", rights=FS["make_dir"]),
        _event("openat", "/p/new/file", ABSENT, "create", flags=0o100 | 0o200, rights=FS["make_reg"]),
        _event("openat", "/p/new/file", FILE, "read", rights=FS["read_file"]),
        _event("execve", "/p/new/file", FILE, "execute", rights=FS["execute"]),
        _event("mkdir", "/p", DIRECTORY, "create"),
    )
    assert _done(uses) == {("/p", ENTER), ("/p", EXECUTE)}


def test_a_file_that_was_asked_about_is_not_created_first() -> None:
    uses = _see(
        _event("newfstatat", "/p/out", ABSENT, "look"),
        _event("openat", "/p/out", ABSENT, "create", flags=0o100, rights=FS["make_reg"]),
    )
    assert _done(uses) == {("/p", ENTER)}


def test_a_file_made_by_opening_it_is_one_that_could_be_created_first() -> None:
    uses = _see(
        _event("openat", "/p/out", ABSENT, "create", flags=0o100, rights=FS["make_reg"]),
        _event("openat", "/p/out", FILE, "write", rights=FS["write_file"]),
        _event("openat", "/p/in", FILE, "read", rights=FS["read_file"]),
        _event("unlink", "/q/old", FILE, "remove", rights=FS["remove_file"]),
        _event("openat", "/q", DIRECTORY, "read", rights=FS["read_dir"]),
    )
    assert _done(uses) == {("/p/out", MAKE), ("/p/in", READ), ("/q", ENTER), ("/q", LIST)}


# --- the profile ---------------------------------------------------------------------------------------------------

TREE = {
    "/home/alice/p/main.c": file(),
    "/home/alice/p/Makefile": file(),
    "/home/alice/p/build.sh": program(b"#!/opt/sh/bin/sh -e\n"),
    "/home/alice/.ssh/id_rsa": file(),
    "/home/alice/.toolrc": file(),
    "/opt/sh/bin/sh": program(),
    "/usr/bin/tool": program(),
    "/usr/lib/libc.so.6": file(),
    "/usr/share/tool/a": file(),
    "/tmp": directory(0o1777),
    "/etc/tool.conf": file(),
}
HOST = FakeHost(TREE, uid=0, cwd="/home/alice/p")
SCENE = Scene(
    HOST,
    "/home/alice/p",
    "/home/alice",
    ALICE,
    ("/usr/lib", "/etc/passwd"),
    ("/dev/null",),
    ("/dev/pts/3",),
    tuple((path, "filesystem.tmp") for path in TEMPORARY),
    ("/home/alice/p",),
)


def _use(path: str, done: str, kind: str = FILE) -> Use:
    return Use(path, done, kind, ONCE)


def _asked(cage: str = "private", flags: tuple[tuple[str, str, str], ...] = ()) -> Circumstances:
    return Circumstances(("tool", "-x"), cage, "x86_64", EMPTY, flags)


def _composed(*uses: Use, **more: object) -> dict[str, object]:
    run = Run(uses, (), {"read": 3, "openat": 2}, (), 0, 1.0)
    return tomli.loads(compose(run, _asked(**more), SCENE).written)  # type: ignore[arg-type]


def test_rights_follow_what_was_done() -> None:
    profile = _composed(
        _use("/usr/lib/libc.so.6", READ),
        _use("/usr/bin/tool", EXECUTE),
        _use("/etc/tool.conf", READ),
        _use("/usr/share/tool/a", READ),
        _use("/home/alice/.toolrc", WRITE),
        _use("/dev/null", WRITE),
        _use("/tmp/x", MAKE, ABSENT),
        _use("/proc/7/maps", READ),
        _use("/home/alice/p/out", MAKE, ABSENT),
    )
    assert profile["filesystem"] == {
        "read": ["/etc/tool.conf", "/usr/share/tool/a"],
        "write": ["@devices", "~/.toolrc"],
        "create": ["out"],
        "execute": ["@runtime", "/usr/bin/tool"],
        "tmp": "private",
        "home": "hidden",
        "proc": "own",
    }


def test_what_was_only_read_in_a_writable_directory_stays_read_only() -> None:
    profile = _composed(
        _use("/home/alice/p", ENTER, DIRECTORY),
        _use("/home/alice/p/main.c", READ),
        _use("/home/alice/p/Makefile", READ),
    )
    assert profile["filesystem"] == {"write": ["."], "deny_write": ["main.c", "Makefile"], "home": "hidden"}


def test_the_interpreter_of_a_script_is_executed_too() -> None:
    profile = _composed(_use("/home/alice/p/build.sh", EXECUTE))
    assert profile["filesystem"]["execute"] == ["build.sh", "/opt/sh/bin/sh"]  # type: ignore[index]


def test_a_secret_is_granted_by_its_own_path_only_and_warned_of() -> None:
    run = Run((_use("/home/alice/.ssh/id_rsa", READ), _use("/home/alice/.toolrc", READ)), (), {}, (), 0, 1.0)
    result = compose(run, _asked("open"), SCENE)
    assert tomli.loads(result.written)["filesystem"]["read"] == ["~/.toolrc", "~/.ssh/id_rsa"]
    assert any("id_rsa (keys)" in warning for warning in result.warnings)


def test_directories_that_others_need_are_left_out_and_named() -> None:
    run = Run((_use("/", LIST, DIRECTORY), _use("/etc", ENTER, DIRECTORY)), (), {}, (), 0, 1.0)
    result = compose(run, _asked("open"), SCENE)
    assert "filesystem" not in tomli.loads(result.written)
    assert len(result.left_out) == 2


def test_options_that_are_no_cage_are_taken_over_but_no_value_of_a_variable() -> None:
    flags = (
        ("environment.pass", "CI", "--env"),
        ("environment.pass", "TOKEN=secret", "--env"),
        ("rlimits", "nofile=64", "--rlimit"),
        ("filesystem.read", "/srv", "--read"),
    )
    run = Run((), (), {}, (), 0, 1.0)
    result = compose(run, _asked(flags=flags), SCENE)
    profile = tomli.loads(result.written)
    assert profile["environment"] == {"pass": ["@basic", "CI"]}
    assert profile["rlimits"]["nofile"] == 64
    assert "secret" not in result.written
    assert any("TOKEN" in left for left in result.left_out)


# --- limits, variables, endpoints ----------------------------------------------------------------------------------


def test_limits_have_headroom_and_are_the_same_for_runs_that_differ_little() -> None:
    assert {name: value for name, value, _ in limits({"nofile": 256, "as": 5 << 30, "fsize": 100 << 20})} == {
        "nofile": 1024,
        "fsize": 1 << 30,
        "as": 32 << 30,
    }
    small = {name: value for name, value, _ in limits({"nofile": 64, "as": 7 << 20})}
    assert small == {"nofile": 256, "fsize": 256 << 20, "as": 1 << 30}
    assert "as" not in {name for name, _, _ in limits({"as": 20 << 40})}, "a sanitizer reserves it"
    assert {name for name, _, _ in limits({})} == {"fsize"}, "nothing was seen"


@pytest.mark.parametrize(
    ("text", "known"),
    [
        (b"\x7fELF..\0EDITOR\0", {"EDITOR"}),
        (b"\x7fELF..\0EDITORS\0MY_EDITOR\0 EDITOR \0", set()),
        (b"#!/bin/sh\necho ${EDITOR:-vi} $PAGER_X\n", {"EDITOR"}),
        (b"", set()),
    ],
)
def test_a_program_knows_a_variable_by_its_whole_name(text: bytes, known: set[str]) -> None:
    assert known_to(["EDITOR", "PAGER"], text) == known


def test_variables_that_are_given_or_hold_passwords_are_not_looked_for() -> None:
    environ = {"A": "1", "PATH": "/bin", "HTTP_PROXY": "http://me:word@proxy:1", "X_PROXY": "http://p:1", "B%%": "()"}
    assert candidates(environ, ["PATH"]) == ("A", "X_PROXY")


def test_variables_and_limits_stand_in_the_profile_with_their_reasons() -> None:
    run = Run((), (), {}, (), 0, 1.0, highest={"nofile": 64}, variables={"EDITOR": ("git", "sh")})
    result = compose(run, _asked(), SCENE)
    profile = tomli.loads(result.written)
    assert profile["environment"] == {"pass": ["@basic", "EDITOR"]}
    assert "# named in git, sh" in result.written
    assert profile["rlimits"]["nofile"] == 256
    assert "environment" not in tomli.loads(compose(run, _asked(), SCENE, with_variables=False).written)


def test_a_limit_of_memory_stays_as_asked_and_says_what_was_used() -> None:
    run = Run((), (), {}, (), 0, 1.0, memory=12 << 20)
    written = compose(run, _asked(flags=(("resources.memory", "1G", "--memory"),)), SCENE).written
    assert "# as asked: --memory; the run used 12.0M\n" in written


def test_the_default_of_syscalls_is_that_of_the_run() -> None:
    flags, _ = read_flags([("syscalls.default", "kill-process", "")])
    asked = _asked()._replace(asked=flags)
    run = Run((), (), {}, (), 0, 1.0)
    assert tomli.loads(compose(run, asked, SCENE).written)["syscalls"]["default"] == "kill-process"


def _network(grants: list[str], *peers: Peer, rows: tuple[dict[str, Any], ...] = ()) -> tuple[list[str], list[str]]:
    asked, problems = read_flags([("network.connect", grant, "") for grant in grants])
    assert not problems
    entries, refused = derive_network(peers, rows, asked, str)
    return [entry.text for entry in entries], [what for what, _ in refused]


def _peer(host: str, port: int, name: str = "") -> Peer:
    return Peer(Address("connect", "tcp", host, port), ONCE, name)


def test_an_address_is_known_by_its_name_only_where_a_grant_by_name_reaches_it() -> None:
    public, private = _peer("93.184.216.34", 443, "a.test"), _peer("10.0.0.1", 443, "b.test")
    again = _peer("93.184.216.35", 443, "a.test")
    resolver = Peer(Address("send", "udp", "9.9.9.9", 53), ONCE)
    assert _network(["*"], public, private, again, resolver) == (["tcp:a.test:443", "tcp:10.0.0.1:443"], [])
    assert _network(["*"], _peer("93.184.216.34", 443, "not a name"))[0] == ["tcp:93.184.216.34:443"]


def test_of_what_the_relay_did_the_narrowest_that_is_known_stands() -> None:
    row = {"endpoint": "tcp:*.test:443", "connections": 2}
    assert _network(["*.test:443"], _peer("198.18.0.1", 443, "a.test"), rows=(row,)) == (["tcp:a.test:443"], [])
    assert _network(["*.test:443"], rows=(row,)) == (["tcp:*.test:443"], [])
    lies = {"endpoint": "tcp:*:443", "connections": 2}, {"endpoint": "no endpoint", "connections": 1}
    assert _network(["*.test:443"], rows=lies) == ([], []), "the relay is not believed beyond what was asked for"


HOSTILE = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=20)


@settings(max_examples=40)
@given(st.lists(st.tuples(HOSTILE, HOSTILE), max_size=10))
def test_hostile_names_end_no_line_and_the_profile_stays_valid_and_short(names: list[tuple[str, str]]) -> None:
    uses = tuple(
        Use(f"/srv/{name}", READ, FILE, Evidence((who,), 1, 0.0)) for name, who in names if name not in (".", "..")
    )
    run = Run(uses, (), dict.fromkeys(syscalls.numbers("x86_64"), 1), (), 0, 1.0)
    written = compose(run, _asked(), SCENE).written
    layer, problems = read_document(tomli.loads(written), "x", "/", lines_of_text(written))
    assert not problems
    read = layer.profile.items("filesystem.read")
    granted = [
        path for value in read for path in expand(value, FakeHost({use.path: file() for use in uses}), "/home/x")
    ]
    assert all(cover(use.path, dict.fromkeys(granted)) for use in uses)


def test_a_name_that_toml_cannot_say_is_left_out_and_said() -> None:
    result = compose(Run((_use("/srv/\udcff", READ),), (), {}, (), 0, 1.0), _asked("open"), SCENE)
    assert "filesystem" not in tomli.loads(result.written)
    assert "not UTF-8" in result.left_out[0]


@settings(max_examples=20)
@given(st.lists(PATHS, min_size=30, max_size=60))
def test_a_profile_is_short_whatever_was_seen(paths: list[str]) -> None:
    uses = tuple(_use("/usr/share" + path, READ) for path in paths)
    written = compose(Run(uses, (), {"read": 1}, (), 0, 1.0), _asked(), SCENE).written
    assert written.count("\n") <= MOST_LINES


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/home/alice/p", "."),
        ("/home/alice/p/@x", "./@x"),
        ("/home/alice/p/~x", "./~x"),
        ("/home/alice/p/a/b?", "a/b[?]"),
        ("/home/alice/q", "~/q"),
        ("/srv/${A}*", "/srv/[$]{A}[*]"),
    ],
)
def test_paths_are_spelled_as_a_person_would(path: str, expected: str) -> None:
    assert spell(path, SCENE) == expected
    assert expand(Value(parse(expected), Origin("", "")), HOST, "/home/alice") == [path]


# --- merging -------------------------------------------------------------------------------------------------------

BEFORE = """# Mine.
schema = 1
description = "A tool"

[filesystem]
read = [
    "/usr/share/tool",  # all of it
    "/etc/tool.conf",
]
write = ["out"]  # results
deny_write = ["main.c", "Makefile"]
home = "hidden"
"""


def _merged(*uses: Use) -> str:
    layer, problems = read_document(tomli.loads(BEFORE), "x", "/", lines_of_text(BEFORE))
    assert not problems
    new = compose(Run(uses, (), {"read": 1}, (), 0, 1.0), _asked(), SCENE)
    return merge(Old(layer, BEFORE, layer.profile), new, uses, SCENE).written


def test_a_further_run_adds_what_is_missing_and_keeps_what_stands_there() -> None:
    written = _merged(
        _use("/usr/share/tool/a", READ), _use("/usr/bin/tool", EXECUTE), _use("/home/alice/p/main.c", WRITE)
    )
    profile = tomli.loads(written)
    assert written.startswith("# Mine.\n")
    assert "# all of it\n" in written
    assert profile["description"] == "A tool"
    assert profile["filesystem"] == {
        "read": ["/usr/share/tool", "/etc/tool.conf"],
        "write": ["out", "main.c"],
        "execute": ["/usr/bin/tool"],
        "deny_write": ["Makefile"],
        "home": "hidden",
    }


def test_merging_the_same_run_again_changes_nothing() -> None:
    uses = (_use("/usr/share/tool/a", READ), _use("/usr/bin/tool", EXECUTE))
    new = compose(Run(uses, (), {"read": 1}, (), 0, 1.0), _asked(), SCENE)
    layer, _ = read_document(tomli.loads(new.written), "x", "/", lines_of_text(new.written))
    assert merge(Old(layer, new.written, layer.profile), new, uses, SCENE).written == new.written


def test_a_comment_behind_an_entry_belongs_to_it() -> None:
    layer, _ = read_document(tomli.loads(BEFORE), "x", "/", lines_of_text(BEFORE))
    comments = text.comments_of(layer, BEFORE)
    assert {origin.key: comment for origin, comment in comments.items()} == {
        "filesystem.read[0]": "all of it",
        "filesystem.write[0]": "results",
    }
