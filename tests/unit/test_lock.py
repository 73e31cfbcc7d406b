"""Locks: what is written down is read again, every change of a policy shows, and nothing of a machine is in them."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandrun.errors import ProfileError, SandrunError
from sandrun.lock import uses
from sandrun.lock.denied import Places, stable
from sandrun.lock.document import Lock, changes, parse_text, text
from sandrun.lock.hold import Held, current, path_of
from sandrun.lock.meanings import FIXED, GROUPS, meanings
from sandrun.lock.portable import portable
from sandrun.lock.uses import Uses
from sandrun.profile import load
from sandrun.profile.diff import diff
from sandrun.profile.find import available
from sandrun.profile.keys import KEYS, TABLE, Key
from sandrun.profile.layer import read_document
from sandrun.profile.loader import load_file
from sandrun.profile.model import Profile, Value
from sandrun.profile.paths import GROUPS as PATH_GROUPS
from tests.profiles_made import documents, good

if TYPE_CHECKING:
    from pathlib import Path

HERE = "/here"


def profile(data: dict[str, Any], directory: str = HERE) -> Profile:
    layer, problems = read_document(data, f"{directory}/p.toml", directory, {})
    assert not problems, [str(problem) for problem in problems]
    return layer.profile


def made(found: Profile, directory: str = HERE, recorded: Uses | None = None) -> Lock:
    small = portable(found, directory)
    return Lock(small, "0.1.0", meanings(small), recorded)


def said(found: Profile) -> object:
    """All that a policy says, but the values of variables."""
    values = {
        key: sorted(repr(value.value) for value in several) if not key.startswith("environment.set.") else []
        for key, several in found.values.items()
    }
    optional = sorted(key for key in found.values if found.is_optional(key))
    return values, optional, sorted(str(value.value) for value in found.require)


# --- as text -------------------------------------------------------------------------------------------------------


@given(documents())
def test_what_is_locked_is_read_as_the_same_policy(data: dict[str, Any]) -> None:
    """The text of a lock gives the policy again, and writing that gives the text again but for where it is from."""
    lock = made(profile(data))
    again = parse_text(text(lock), "l")
    assert changes(again, lock) == []
    assert said(again.profile) == said(lock.profile) == said(profile(data))
    assert again[1:] == lock[1:]


@pytest.mark.parametrize("found", available(), ids=lambda found: found.word)
def test_each_profile_can_be_locked(found: Any) -> None:
    """Every profile that ships, also those that deny what they extend grants."""
    lock = made(load_file(found))
    assert changes(parse_text(text(lock), "l"), lock) == []


@given(documents(), documents())
def test_no_change_is_missed(first: dict[str, Any], second: dict[str, Any]) -> None:
    """Two policies without a difference say the same: nothing is taken for covered, and order does not count."""
    one, two = profile(first), profile(second)
    differ = changes(made(one), made(two))
    assert (differ == []) == (said(one) == said(two)), differ


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.path)
@given(st.data())
@settings(max_examples=10)
def test_each_key_is_held(key: Key, data: st.DataObject) -> None:
    """Another value of one key alone is a change, whichever key it is; an empty list that is written is one too."""
    table, _, name = key.path.partition(".")
    values = [data.draw(good(key)) for _ in range(2)]
    one, two = (profile({table: {name: value} if name else value}) for value in values)
    assert (changes(made(one), made(two)) == []) == (said(one) == said(two))
    if key.merge != TABLE:
        assert changes(made(profile({})), made(one)) != []
        assert changes(made(one), made(profile({}))) != []


def test_what_is_covered_is_a_change() -> None:
    """/srv/data may be a link to anywhere, so granting it beside /srv is more; comparing profiles would not say so."""
    one = profile({"filesystem": {"read": ["/srv"]}})
    two = profile({"filesystem": {"read": ["/srv", "/srv/data"]}})
    assert diff(one, two) == []
    assert changes(made(one), made(two)) == ["+ may read /srv/data"]
    assert changes(made(two), made(one)) == ["- may no longer read /srv/data"]


def test_the_order_of_entries_is_none() -> None:
    """The text does not depend on the order in which a profile has its entries and keys."""
    one = profile({"filesystem": {"write": ["/b", "/a"], "read": ["/d", "/c"]}, "rlimits": {"nofile": 1, "core": 0}})
    two = profile({"rlimits": {"core": 0, "nofile": 1}, "filesystem": {"read": ["/c", "/d"], "write": ["/a", "/b"]}})
    assert text(made(one)) == text(made(two))


def test_one_entry_is_one_line() -> None:
    """What is granted more is one more line, and no other line changes."""
    one = profile({"filesystem": {"read": ["/a", "/c"]}})
    two = profile({"filesystem": {"read": ["/a", "/c", "/b"]}})
    before, after = text(made(one)).splitlines(), text(made(two)).splitlines()
    assert [line for line in after if line not in before] == ['    "/b",  # p.toml']
    assert [line for line in before if line not in after] == []


def test_a_value_of_a_variable_is_not_in_a_lock() -> None:
    one = profile({"environment": {"set": {"TOKEN": "hunter2"}}})
    other = profile({"environment": {"set": {"TOKEN": "another"}}})
    assert "hunter2" not in text(made(one))
    assert changes(made(one), made(other)) == []
    assert changes(made(one), made(profile({}))) == ["~ no longer sets the variable TOKEN"]


# --- machines ------------------------------------------------------------------------------------------------------


def test_another_checkout_has_the_same_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Profiles that extend each other by path and speak of their own directories give one text wherever they are."""
    texts = []
    for place in ("one", "two/three"):
        top = tmp_path / place
        (top / "common").mkdir(parents=True)
        (top / "common" / "base.toml").write_text('schema = 1\n[filesystem]\nread = ["${PROFILE_DIR}/data"]\n')
        (top / "ci").mkdir()
        (top / "ci" / "app.toml").write_text(
            'schema = 1\nextends = "../common/base.toml"\n[filesystem]\nwrite = ["${PROFILE_DIR}/out", "."]\n'
        )
        monkeypatch.chdir(top / "ci")
        texts.append(text(current(load(["./app.toml"]), "./app.toml")))
        monkeypatch.chdir(tmp_path)
        texts.append(text(current(load([f"{top}/ci/app.toml"]), f"{top}/ci/app.toml")))
    assert len(set(texts)) == 1, texts
    assert '"${PROFILE_DIR}/../common/data",  # ../common/base.toml' in texts[0]
    assert str(tmp_path) not in texts[0]


def test_a_directory_of_another_layer_is_not_taken_for_ones_own() -> None:
    """The same words in a profile of another directory are another place."""
    data = {"filesystem": {"read": ["${PROFILE_DIR}/x"]}}
    assert changes(made(profile(data)), made(profile(data, "/elsewhere"))) == [
        "+ may read ${PROFILE_DIR}/../elsewhere/x",
        "- may no longer read ${PROFILE_DIR}/x",
    ]


def test_what_is_not_utf_8_is_refused() -> None:
    """TOML cannot say it, and what is shown in its place would stand for other names too."""
    found = load(["none"], [("filesystem.read", os.fsdecode(b"/\xff"), "--read")])
    with pytest.raises(SandrunError, match=r"^cannot be locked: --read: not UTF-8$"):
        portable(found, HERE)


def test_where_an_entry_comes_from_is_not_compared() -> None:
    """An entry that moves from one file to another grants what it did."""
    data = {"filesystem": {"read": ["/a"]}}
    flag = load(["none"], [("filesystem.read", "/a", "--read")])
    assert changes(made(profile(data)), made(flag)) == []


# --- what names stand for ------------------------------------------------------------------------------------------


def test_a_name_that_means_something_else_is_a_change() -> None:
    """Another version of sandrun may put more behind the name of a group, a set or a promise."""
    found = profile({"filesystem": {"read": ["@tls"]}, "syscalls": {"allow": ["@mount"], "promises": ["inet"]}})
    now = made(found)
    assert list(now.meanings) == ["@basic", "@mount", "@tls", "promise inet"]
    before = now._replace(version="0.0.9", meanings={**now.meanings, "@tls": "0" * 16})
    assert changes(before, now) == ["~ @tls means something else than when it was locked (sandrun 0.0.9, now 0.1.0)"]


def test_every_group_has_a_meaning() -> None:
    """A new path group must say what defines it."""
    assert {*GROUPS, *FIXED} == set(PATH_GROUPS)
    assert not GROUPS.keys() & set(FIXED)


@pytest.mark.parametrize("gone", ["one", "all"])
def test_a_lock_without_meanings_is_none(gone: str) -> None:
    """Taking digests out of the file does not make it hold for any meaning."""
    now = made(profile({"filesystem": {"read": ["@tls"]}}))
    left = {} if gone == "all" else {"@basic": now.meanings["@basic"]}
    assert changes(now._replace(meanings=left), now) == ["~ [meaning] has other names than the policy"]


# --- what is no lock -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "not a lock that this sandrun can read"),
        ("lock = 2\nsandrun = '1'", "not a lock that this sandrun can read"),
        ("lock = true\nsandrun = '1'", "not a lock that this sandrun can read"),
        ("lock = 1", "not a lock that this sandrun can read"),
        ("lock = 1\nsandrun = '1'\nextends = 'default'", "a lock stands for itself"),
        ("lock = 1\nsandrun = '1'\nschema = 1", "a lock stands for itself"),
        ("lock = 1\nsandrun = '1'\nreplace = ['network.connect']", "a lock stands for itself"),
        ("lock = 1\nsandrun = '1'\n[filesystem]\nraed = []", 'unknown key "raed"'),
        ("lock = 1\nsandrun = '1'\n[used]\nconnected = []", "not a table of connected, refused and perhaps denied"),
        ("lock = 1\nsandrun = '1'\n[used]\nconnected = []\nrefused = []\nmore = []", "not a table of connected"),
        ("lock = 1\nsandrun = '1'\n[used]\nconnected = [1]\nrefused = []", "not an array of strings"),
        ("lock = 1\nsandrun = '1'\nmeaning = []", "not a table of digests"),
        ("lock = 1\nsandrun = '1'\nmeaning = { a = 1 }", "not a table of digests"),
        ("<<<<<<< HEAD", "not TOML"),
    ],
)
def test_what_is_no_lock_is_said(words: str, message: str) -> None:
    """A file that is damaged, of another version or no lock at all holds nobody to anything, and is an error."""
    with pytest.raises(ProfileError) as caught:
        parse_text(words, "app.lock")
    assert message in "\n".join(caught.value.lines())
    assert "app.lock" in caught.value.lines()[0]


def test_the_lock_stands_beside_its_profile() -> None:
    assert path_of("./ci/app.toml") == "./ci/app.lock"
    assert path_of("/srv/profile") == "/srv/profile.lock"


# --- what runs used ------------------------------------------------------------------------------------------------

RECORD = {
    "endpoints": [
        {"endpoint": name, "connections": 1, "failed": 0, "error": "", "sent": 1, "received": None}
        for name in ("tcp:b.test:443", "tcp:a.test:443")
    ],
    "refused": [
        {"what": "name", "target": "c.test", "reason": "not granted", "count": 3},
        {"what": "limit", "target": "connections", "reason": "too many at once", "count": 1},
    ],
    "published": [],
    "others": 0,
}
PLACES = Places("/home/u/project", "/home/u")
USED = Uses(("tcp:a.test:443", "tcp:b.test:443"), ("name c.test",))


def record(**changed: Any) -> bytes:
    return json.dumps(RECORD | changed).encode()


def held(known: Uses | None) -> Held:
    return Held(made(profile({}), recorded=known), "./app.lock", "./app.toml", PLACES)


def test_a_record_is_what_was_used() -> None:
    """Endpoints and refusals, sorted; how many at once is no use."""
    assert uses.of_run(record(), None, PLACES) == (USED, "")
    assert uses.of_run(None, None, PLACES) == (Uses(), "")


def test_only_what_is_new_is_needed() -> None:
    """Nothing is needed that was used before, whatever else was used then; without recorded runs nothing is asked."""
    assert held(None).needed(record()) == []
    assert held(USED).needed(record()) == []
    assert held(Uses((*USED.connected, "tcp:z.test:1"), USED.refused)).needed(record()) == []
    assert held(Uses(("tcp:a.test:443",), ())).needed(record()) == [
        "+ connected to tcp:b.test:443",
        "+ was refused: name c.test",
    ]
    assert held(Uses()).needed(None) == []


@pytest.mark.parametrize("left", [b"", b"{}", record(others=1)])
def test_a_record_that_is_not_whole_is_no_proof(left: bytes) -> None:
    """If not all that a run used is known, it is not said that it needed nothing."""
    (line,) = held(USED).needed(left)[-1:]
    assert line.startswith("~ not all is known: ")


def report(**changed: Any) -> dict[str, Any]:
    return {"sandrun": 1, "started": True, "outcome": {"network": RECORD | {"complete": True}}} | changed


def test_a_report_is_what_was_used(tmp_path: Path) -> None:
    path = tmp_path / "r"
    path.write_text(json.dumps(report()))
    assert uses.of_report(str(path), PLACES) == USED
    path.write_text(json.dumps(report(outcome={"network": None})))
    assert uses.of_report(str(path), PLACES) == Uses()
    path.write_text(json.dumps(report(explained=explained(("read", "/home/u/project/x")))))
    assert uses.of_report(str(path), PLACES) == USED._replace(denied=("read ./x",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not a record of a run"),
        ("[]", "not a record of a run"),
        (json.dumps({"sandrun": 1}), "not a record of a run"),
        (json.dumps(report(sandrun=2)), "not a record of a run"),
        (json.dumps(report(outcome=None)), "the command did not run"),
        (json.dumps(report(started=False)), "the command did not run"),
        (json.dumps(report(explained=[])), "not a record of a run"),
        (json.dumps(report(explained={"complete": True})), "not what --explain leaves"),
        (json.dumps(report(explained={"complete": True, "findings": [{"denials": [1]}]})), "not what --explain leaves"),
        (json.dumps(report(explained={"complete": False, "findings": []})), "not everything was seen"),
        (json.dumps(report(explained={"complete": False, "gap": "too fast", "findings": []})), "too fast"),
        (json.dumps(report(outcome={"network": {"complete": False}})), "the relay left no record"),
        (json.dumps(report(outcome={"network": RECORD | {"others": 7}})), "7 more refusals"),
    ],
)
def test_a_report_that_does_not_tell_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "r").write_text(content)
    with pytest.raises(SandrunError, match=f"^cannot use the report: .*: {message}"):
        uses.of_report(str(tmp_path / "r"), PLACES)


def explained(*denials: tuple[str, str], **changed: Any) -> dict[str, Any]:
    rows = [{"act": act, "target": target, "mechanisms": ["landlock"]} for act, target in denials]
    return {"complete": True, "gap": None, "findings": [{"denials": rows}], **changed}


def test_what_was_denied_is_held_if_it_is_known() -> None:
    """Only by a lock that has it; looking for files and what the relay's record has already are no denials."""
    run = explained(("read", "/etc/shadow"), ("look", "/usr/bin/x"), ("syscall", "ptrace"))
    run["findings"].append({"denials": [{"act": "connect", "target": "tcp:h:1", "mechanisms": ["relay"]}]})
    assert held(Uses()).needed(None, run) == []
    assert held(Uses(denied=())).needed(None, run) == ["+ was denied: read /etc/shadow", "+ was denied: syscall ptrace"]
    assert held(Uses(denied=("read /etc/shadow", "syscall ptrace"))).needed(None, run) == []
    assert held(Uses(denied=())).needed(None, explained(gap="too fast")) == ["~ not all is known: too fast"]
    assert held(Uses()).needed(None, explained(gap="too fast")) == []


@pytest.mark.parametrize(
    ("path", "written"),
    [
        ("/home/u/project/src/a", "./src/a"),
        ("/home/u/project", "."),
        ("/home/u/projects", "~/projects"),
        ("/home/u/.ssh/id_rsa", "~/.ssh/id_rsa"),
        ("/etc/", "/etc"),
        ("/", "/"),
        ("/proc/4711/mem", "/proc/PID/mem"),
        ("/proc/17/task/18/stat", "/proc/PID/task/TID/stat"),
        ("/proc/17", "/proc/PID"),
        ("/proc/self/mem", "/proc/self/mem"),
        ("/etc/x.2", "/etc/x.[0-9]*"),
        ("/tmp/tmpab12cd3e", "/tmp/tmp*"),
        ("/home/u/project/m.cpython-311.pyc.139872", "./m.cpython-[0-9]*.pyc.[0-9]*"),
    ],
)
def test_a_denied_path_means_the_same_elsewhere(path: str, written: str) -> None:
    """Written from the working directory or the home, without what is another one in the next run."""
    assert stable(path, PLACES) == written


def test_places_that_are_everything_are_none() -> None:
    """A home or working directory that is the root, or unknown, does not make every path one below it."""
    assert stable("/etc/shadow", Places("/", "")) == "/etc/shadow"


def test_uses_add_up() -> None:
    one, two = Uses(("b",), ("x",)), Uses(("a", "b"), ())
    assert uses.unite(one, two) == Uses(("a", "b"), ("x",))
    assert uses.unite(None, two) == uses.unite(two, None) == two
    assert uses.unite(None, None) is None
    assert uses.unite(one._replace(denied=("d",)), two) == Uses(("a", "b"), ("x",), ("d",))
    assert uses.unite(one._replace(denied=()), two._replace(denied=("d",))) == Uses(("a", "b"), ("x",), ("d",))


def test_uses_stay_as_they_are_in_text() -> None:
    """Hostile names come back as they were, and cannot end the file's line."""
    hostile = Uses(("tcp:a.test:443",), ('name "]\n[used]\x1b[31m',), ("read /'\\\u202e",))
    lock = made(profile({}), recorded=hostile)
    assert parse_text(text(lock), "l").uses == hostile
    assert "\x1b" not in text(lock)
    assert parse_text(text(made(profile({}), recorded=Uses())), "l").uses == Uses()
    assert parse_text(text(made(profile({}))), "l").uses is None


def test_optional_is_part_of_the_policy() -> None:
    """A protection that may be lost now, or no longer, is a change, by a layer or by a flag."""
    strict = {"process": {"isolate": True}}
    lost = profile(strict | {"optional": ["process.isolate"]})
    assert changes(made(profile(strict)), made(lost)) == ["+ runs also where process.isolate cannot be enforced"]
    flagged = load(["none"], [("rlimits", "core=0", "--rlimit")], optional=["rlimits.core"])
    plain = load(["none"], [("rlimits", "core=0", "--rlimit")])
    assert "+ runs also where rlimits.core cannot be enforced" in changes(made(plain), made(flagged))
    assert isinstance(flagged.values["rlimits.core"][0], Value)
