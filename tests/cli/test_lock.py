"""`sandrun lock` and `--locked`: what is written, what is refused before the run, and what is said after it."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from tests.support import need_landlock, need_namespaces, need_program, sandrun

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support import Who

PROFILE = """schema = 1
extends = "default"

[filesystem]
read = ["${PROFILE_DIR}/data?"]
"""
HOSTS = """schema = 1
extends = "default"

[network]
connect = ["allowed.test:443"]
"""
LOOK_UP = ("sh", "-c", "getent hosts other.test; getent hosts another.test; exit $0")


@pytest.fixture(autouse=True)
def _landlock() -> None:
    need_landlock(1)


def write(who: Who, path: Path, text: str) -> None:
    path.write_text(text)
    who.own(path)


@pytest.fixture
def app(who: Who, box: Path) -> Path:
    """A profile app.toml, of the user, in the directory of the tests."""
    path = box / "app.toml"
    write(who, path, PROFILE)
    return path


def test_a_lock_is_made_and_kept(who: Who, box: Path, app: Path) -> None:
    """Made beside the profile; made again it is the same; a launch under the same policy runs."""
    first = sandrun("lock", "app.toml", who=who, cwd=box)
    assert (first.returncode, first.stdout, first.stderr) == (0, "made ./app.lock\n", "")
    lock = box / "app.lock"
    assert lock.stat().st_mode & 0o777 == 0o644
    assert lock.stat().st_uid == who.uid
    text = lock.read_text()
    assert str(box) not in text
    again = sandrun("lock", str(app), who=who, cwd="/")
    assert (again.returncode, again.stdout) == (0, "")
    assert lock.read_text() == text
    assert sandrun("lock", "--check", "app.toml", who=who, cwd=box).returncode == 0
    done = sandrun("--locked", "-p", "./app.toml", "--", "sh", "-c", "exit 3", who=who, cwd=box)
    assert (done.returncode, done.stderr) == (3, "")
    assert sorted(path.name for path in box.iterdir()) == ["app.lock", "app.toml"]


def test_another_policy_is_refused_before_the_run(who: Who, box: Path, app: Path) -> None:
    """125, the difference and what to do, and nothing has run; for a changed file and for an option alike."""
    sandrun("lock", "app.toml", who=who, cwd=box, check=True)
    asked = ("--locked", "-p", "./app.toml", "--", "touch", "ran")
    hint = (
        "sandrun: hint: if it is meant: sandrun lock ./app.toml, with the same options, and review the change of "
        "./app.lock\n"
    )
    start = "sandrun: the policy is not the one that was locked: ./app.lock\n"
    done = sandrun("--connect", "tcp:443", *asked, who=who, cwd=box)
    assert (done.returncode, done.stdout) == (125, "")
    assert done.stderr == f"{start}sandrun: + may connect to tcp:443\n{hint}"
    write(who, app, PROFILE.replace('"${PROFILE_DIR}/data?"', '"/srv?"'))
    done = sandrun(*asked, who=who, cwd=box)
    lines = "sandrun: + may read /srv?\nsandrun: - may no longer read ${PROFILE_DIR}/data?\n"
    assert (done.returncode, done.stderr) == (125, start + lines + hint)
    done = sandrun("-n", *asked, who=who, cwd=box)
    assert (done.returncode, done.stdout) == (125, "")
    checked = sandrun("lock", "--check", "app.toml", who=who, cwd=box)
    assert (checked.returncode, checked.stdout) == (1, "+ may read /srv?\n- may no longer read ${PROFILE_DIR}/data?\n")
    assert not (box / "ran").exists()
    accepted = sandrun("lock", "app.toml", who=who, cwd=box)
    assert (accepted.returncode, accepted.stdout) == (0, checked.stdout)
    assert sandrun(*asked, who=who, cwd=box).returncode == 0
    assert (box / "ran").exists()


def test_options_are_part_of_a_lock(who: Who, box: Path, app: Path) -> None:
    """A lock that was made with an option holds launches with that option."""
    sandrun("lock", "app.toml", "--connect", "tcp:443", "-p", "offline", "--json", who=who, cwd=box, check=True)
    words = ("--locked", "-p", "./app.toml")
    assert sandrun(*words, "-p", "offline", "--connect", "tcp:443", "--", "true", who=who, cwd=box).returncode == 0
    assert sandrun(*words, "-p", "offline", "--", "true", who=who, cwd=box).returncode == 125
    assert sandrun(*words, "--connect", "tcp:443", "--", "true", who=who, cwd=box).returncode == 125


def test_json(who: Who, box: Path, app: Path) -> None:
    done = sandrun("lock", "app.toml", "--json", who=who, cwd=box)
    assert json.loads(done.stdout) == {
        "sandrun": 1,
        "lock": "./app.lock",
        "new": True,
        "written": True,
        "changes": [],
    }
    done = sandrun("lock", "--check", "--json", "app.toml", "--read", "/srv?", who=who, cwd=box)
    assert done.returncode == 1
    assert json.loads(done.stdout)["changes"] == [{"sign": "+", "text": "may read /srv?"}]
    assert json.loads(done.stdout)["written"] is False


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (("lock",), 2, "missing argument 'FILE'"),
        (("lock", "--read", "/x", "app.toml"), 2, "the file comes first"),
        (("lock", "app.toml", "true"), 2, "not an option: true"),
        (("lock", "app.toml", "--dry-run"), 2, "a lock takes the options that say what is granted"),
        (("lock", "app.toml", "--raed", "x"), 2, "no such option: --raed"),
        (("lock", "none.toml"), 125, "cannot read the profile: ./none.toml"),
        (("lock", "--check", "app.toml"), 125, "there is no lock: ./app.lock"),
        (("lock", "app.toml", "--used", "app.toml"), 125, "not a record of a run"),
        (("lock", "app.toml", "--used", "gone"), 125, "cannot read the report: gone: No such file"),
        (("--locked", "-p", "./app.toml", "--", "true"), 125, "cannot read the lock: ./app.lock: No such file"),
        (("--locked", "-p", "default", "--", "true"), 125, "--locked needs a profile that is a file"),
        (("--locked", "--", "true"), 125, "--locked needs a profile that is a file"),
    ],
)
def test_what_cannot_be_done_is_said(
    who: Who, box: Path, app: Path, words: tuple[str, ...], status: int, message: str
) -> None:
    """Wrong usage and what cannot be told have their statuses, and leave no file."""
    done = sandrun(*words, who=who, cwd=box)
    assert (done.returncode, done.stdout) == (status, "")
    assert message in done.stderr
    assert [path.name for path in box.iterdir()] == ["app.toml"]


@pytest.mark.parametrize("text", ["", "lock = 1\n", "\xff", "lock = 1\nsandrun = '0'\n[filesystem]\nread = 3\n"])
def test_a_damaged_lock_holds_nobody(who: Who, box: Path, app: Path, text: str) -> None:
    """What cannot be read as a lock is an error of the launch and of the verb, and stays as it is."""
    (box / "app.lock").write_bytes(text.encode("latin-1"))
    who.own(box / "app.lock")
    for words in (
        ("--locked", "-p", "./app.toml", "--", "true"),
        ("lock", "app.toml"),
        ("lock", "--check", "app.toml"),
    ):
        done = sandrun(*words, who=who, cwd=box)
        assert done.returncode == 125, done.stderr
        assert "./app.lock" in done.stderr
        assert "Traceback" not in done.stderr
    assert (box / "app.lock").read_bytes() == text.encode("latin-1")


def test_a_link_is_not_replaced(who: Who, box: Path, app: Path) -> None:
    """A lock that is no regular file is somebody's arrangement, and is neither followed nor replaced."""
    write(who, box / "other", "precious")
    (box / "app.lock").symlink_to("other")
    done = sandrun("lock", "app.toml", who=who, cwd=box)
    assert done.returncode == 125
    assert (box / "other").read_text() == "precious"
    assert (box / "app.lock").is_symlink()


def test_the_report_says_what_held(who: Who, box: Path, app: Path) -> None:
    sandrun("lock", "app.toml", who=who, cwd=box, check=True)
    sandrun("--locked", "-p", "./app.toml", "--report", "r", "--", "true", who=who, cwd=box, check=True)
    assert json.loads((box / "r").read_text())["locked"] == {"lock": "./app.lock", "runs": False, "needed": []}
    sandrun("--report", "r", "--", "true", who=who, cwd=box, check=True)
    assert json.loads((box / "r").read_text())["locked"] is None


def test_what_a_run_needed_is_said_after_it(who: Who, box: Path, app: Path) -> None:
    """A name that no recorded run asked for: 123 after a run that succeeded, its own status after one that did not;
    without recorded runs nothing is asked; and what --used adds is known from then on."""
    need_namespaces(who)
    need_program("getent")
    write(who, app, HOSTS)
    words = ("-q", "--locked", "-p", "./app.toml", "--report", "run.json", "--", *LOOK_UP)
    sandrun("lock", "app.toml", who=who, cwd=box, check=True)
    policy_only = sandrun(*words, "0", who=who, cwd=box)
    assert (policy_only.returncode, policy_only.stderr) == (0, "")
    first = json.loads((box / "run.json").read_text())
    first["outcome"]["network"]["refused"] = [
        row for row in first["outcome"]["network"]["refused"] if row["target"] == "other.test"
    ]
    assert first["outcome"]["network"]["refused"], "the control: the relay saw the name"
    write(who, box / "first.json", json.dumps(first))
    added = sandrun("lock", "app.toml", "--used", "first.json", who=who, cwd=box)
    assert (added.returncode, added.stdout) == (0, "+ was refused: name other.test\n")

    done = sandrun(*words, "0", who=who, cwd=box)
    assert done.returncode == 123
    told = "sandrun: the run needed what it had not before: ./app.lock\nsandrun: + was refused: name another.test\n"
    assert told in done.stderr
    report = json.loads((box / "run.json").read_text())
    assert (report["status"], report["outcome"]["status"]) == (123, 0)
    assert report["locked"]["needed"] == ["+ was refused: name another.test"]
    failed = sandrun(*words, "7", who=who, cwd=box)
    assert failed.returncode == 7
    assert told in failed.stderr

    added = sandrun("lock", "app.toml", "--used", "run.json", who=who, cwd=box)
    assert added.stdout == "+ was refused: name another.test\n"
    known = sandrun(*words, "0", who=who, cwd=box)
    assert (known.returncode, known.stderr) == (0, "")
    sandrun("lock", "app.toml", who=who, cwd=box, check=True)
    assert '"name other.test"' in (box / "app.lock").read_text(), "locking the policy anew keeps what runs used"


def test_what_a_run_needed_is_not_committed(who: Who, box: Path, app: Path) -> None:
    """A run that needed more has failed, so that its changes wait for somebody to look at them."""
    need_namespaces(who)
    need_program("getent")
    write(who, app, HOSTS)
    (box / "work").mkdir()
    who.own(box / "work")
    state = who.env | {"XDG_STATE_HOME": str(who.home / "state")}
    words = ("-p", "./app.toml", "--overlay", "work", "--on-exit", "commit", "--report", "run.json")
    sandrun("lock", "app.toml", "--overlay", "work", who=who, cwd=box, check=True)
    sandrun(*words, "--", "true", who=who, cwd=box, env=state, check=True)
    sandrun("lock", "app.toml", "--overlay", "work", "--used", "run.json", who=who, cwd=box, check=True)
    script = "touch work/made; getent hosts other.test; exit 0"
    done = sandrun("-q", "--locked", *words, "--", "sh", "-c", script, who=who, cwd=box, env=state)
    assert done.returncode == 123, done.stderr
    assert not (box / "work" / "made").exists()
    assert json.loads((box / "run.json").read_text())["workspace"]["became"] == "kept"
    sandrun("workspace", "discard", who=who, cwd=box, env=state, check=True)


def test_the_command_cannot_change_what_it_is_held_to(who: Who, box: Path, app: Path) -> None:
    """The lock is read before the command starts: one that writes itself a better one is held to the first."""
    need_namespaces(who)
    need_program("getent")
    write(who, app, HOSTS)
    sandrun("-p", "./app.toml", "--report", "run.json", "--", "true", who=who, cwd=box, check=True)
    sandrun("lock", "app.toml", "--used", "run.json", who=who, cwd=box, check=True)
    script = """sed -i 's/^refused = .*/refused = ["name other.test"]/' app.lock; getent hosts other.test; exit 0"""
    done = sandrun("-q", "--locked", "-p", "./app.toml", "--", "sh", "-c", script, who=who, cwd=box)
    assert '"name other.test"' in (box / "app.lock").read_text(), "the control: it could write the file"
    assert done.returncode == 123


def test_what_was_denied_is_held_with_explain(who: Who, box: Path, app: Path) -> None:
    """A file that no recorded run tried: 123, in another checkout too; and without --explain nobody could tell: 125."""
    script = 'for path in "$@"; do cat "$path"; done; exit 0'
    words = ("--explain", "-p", "./app.toml", "--report", "run.json", "--", "sh", "-c", script, "sh")
    write(who, who.home / ".secret", "x")
    write(who, who.home / ".netrc", "x")
    sandrun(*words, str(who.home / ".netrc"), who=who, cwd=box, check=True)
    made = sandrun("lock", "app.toml", "--used", "run.json", who=who, cwd=box)
    assert "+ was denied: read ~/.netrc\n" in made.stdout, made.stderr
    assert str(who.home) not in (box / "app.lock").read_text()
    held = ("--locked", *words)
    assert sandrun(*held, str(who.home / ".netrc"), who=who, cwd=box).returncode == 0
    reader, writer = os.pipe()
    events = ("--status-fd", str(writer), *held)
    both = (str(who.home / ".netrc"), str(who.home / ".secret"))
    done = sandrun(*events, *both, who=who, cwd=box, pass_fds=[writer])
    os.close(writer)
    assert done.returncode == 123, done.stderr
    with open(reader) as file:
        (end,) = (event for event in map(json.loads, file) if event["event"] == "exit")
    assert (end["status"], end["signal"]) == (123, 0)
    assert "sandrun: + was denied: read ~/.secret\n" in done.stderr
    assert "+ was denied: read ~/.netrc" not in done.stderr
    done = sandrun("--locked", "-p", "./app.toml", "--", "touch", "ran", who=who, cwd=box)
    assert (done.returncode, done.stdout) == (125, "")
    assert "hint: --explain looks at what is denied" in done.stderr
    assert not (box / "ran").exists()


@pytest.mark.parametrize(
    ("act", "names"),
    [
        ("echo '# x' >>app.toml", ["app.toml"]),
        ("echo '# x' >>app.lock", ["app.lock"]),
        ("rm app.lock; mkfifo app.lock", ["app.lock"]),
        ("cp app.toml x; mv x app.toml; echo 'schema = 1' >base.toml", ["base.toml"]),
        ("cp app.toml x; mv x app.toml; touch app.lock", []),
    ],
)
def test_a_command_that_edits_what_it_is_held_to(who: Who, box: Path, act: str, names: list[str]) -> None:
    """A command that may write its own profile or lock has not passed if it did: the next run would believe it."""
    write(who, box / "base.toml", 'schema = 1\n[filesystem]\nread = ["@runtime"]\n')
    text = 'extends = "./base.toml"\n[filesystem]\nwrite = [".", "@devices"]\nexecute = ["@system"]\n'
    write(who, box / "app.toml", text)
    assert sandrun("lock", "app.toml", who=who, cwd=box).returncode == 0
    done = sandrun("--locked", "-p", "./app.toml", "--", "sh", "-c", act, who=who, cwd=box)
    assert done.returncode == (123 if names else 0), done.stderr
    assert [line for line in done.stderr.splitlines() if line.startswith("sandrun: !")] == [
        f"sandrun: ! {box}/{name} was changed meanwhile" for name in names
    ]


def test_a_report_that_is_a_fifo(who: Who, box: Path, app: Path) -> None:
    """Nothing waits for somebody to write there."""
    os.mkfifo(box / "report.json")
    who.own(box / "report.json")
    done = sandrun("lock", "app.toml", "--used", "report.json", who=who, cwd=box)
    assert done.returncode == 125
    assert "report.json" in done.stderr
