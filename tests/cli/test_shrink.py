"""`sandrun shrink` as a user runs it, with real launches: what goes, what is said, and what is left alone."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.support import sandrun
from tests.terminals import shown

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from tests.support import Who

PROFILE = """\
# What a copy needs.
schema = 1
optional = ["process.isolate", "filesystem.proc"]

[filesystem]
read = ["@runtime", "@system", "in"]
write = [
    "@devices",
    "unused",  # from before
    "other",   # is only read
    "out",     # the result
]
execute = ["@system", "@runtime"]
deny = ["in/secret"]
proc = "own"

[process]
isolate = true

[environment]
pass = ["@basic", "TOKEN"]
"""
TEST = "cat in/notes other/notes >out/copy"


@pytest.fixture
def place(who: Who, box: Path) -> Path:
    """A directory with a profile that grants too much for TEST, and what TEST works on."""
    for name in ("in", "other", "out", "unused"):
        (box / name).mkdir()
        (box / name / "notes").write_text("pears\n")
    (box / "in" / "secret").touch()
    (box / "app.toml").write_text(PROFILE)
    (box / "app.toml").chmod(0o640)
    who.own(*box.rglob("*"))
    return box


def shrink(who: Who, place: Path, *words: str, test: str = TEST) -> subprocess.CompletedProcess[Any]:
    return sandrun("shrink", *words, "app.toml", "--", "/bin/sh", "-c", test, who=who, cwd=place)


def wait_for(path: Path) -> None:
    """Wait until the command has made this file."""
    end = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < end, f"nobody makes {path}"
        time.sleep(0.02)


def test_what_is_not_needed_goes(who: Who, place: Path) -> None:
    """Unused grants go, writing becomes reading, all else stays as written, and the test still passes."""
    done = shrink(who, place)
    assert (done.returncode, done.stderr) == (0, "")
    after = (place / "app.toml").read_text()
    assert '"unused"' not in after
    assert "# from before" not in after
    assert "TOKEN" not in after
    assert re.search(r'read = \[.*"in".*"other"  # is only read', after, re.DOTALL)
    assert '    "out",     # the result\n' in after
    assert 'deny = ["in/secret"]\nproc = "none"\n\n[process]\nisolate = true\n' in after
    assert after.startswith('# What a copy needs.\nschema = 1\noptional = ["process.isolate", "filesystem.proc"]\n')
    assert 'removed   app.toml:9: filesystem.write[1]: "unused"\n' in done.stdout
    assert 'narrowed  app.toml:10: filesystem.write[2]: "other" is now filesystem.read\n' in done.stdout
    status = (place / "app.toml").stat()
    assert (status.st_mode & 0o777, status.st_uid) == (0o640, who.uid)
    assert sandrun("-q", "-p", "./app.toml", "--", "/bin/sh", "-c", TEST, who=who, cwd=place).returncode == 0
    assert sandrun("profile", "diff", "./app.toml", "./app.toml", who=who, cwd=place).returncode == 0
    assert sorted(os.listdir(place)) == ["app.toml", "in", "other", "out", "unused"]


def test_a_second_time_there_is_nothing_to_do(who: Who, place: Path) -> None:
    """What was shrunk is not changed again, by however many runs at a time."""
    first = shrink(who, place, "--jobs", "3", "--json")
    after = (place / "app.toml").read_bytes()
    second = shrink(who, place, "-j1", "--json")
    assert (first.returncode, second.returncode) == (0, 0)
    one, two = json.loads(first.stdout), json.loads(second.stdout)
    assert (one["sandrun"], one["written"], one["complete"]) == (1, True, True)
    assert (two["removed"], two["narrowed"], two["written"]) == ([], [], False)
    assert len(two["needed"]) == len(one["needed"]) + sum(
        entry["key"] == "filesystem.write" for entry in one["narrowed"]
    )
    assert (place / "app.toml").read_bytes() == after


def test_check_changes_nothing(who: Who, place: Path) -> None:
    """Status 1 and what could go; the file stays."""
    done = shrink(who, place, "--check")
    assert done.returncode == 1
    assert '"unused"' in done.stdout
    assert (place / "app.toml").read_text() == PROFILE
    assert shrink(who, place).returncode == 0
    assert shrink(who, place, "--check").returncode == 0


def test_a_test_that_fails_from_the_start(who: Who, place: Path) -> None:
    """125 and the way to see why."""
    done = shrink(who, place, test="exit 3")
    assert (done.returncode, done.stdout) == (125, "")
    assert done.stderr == (
        "sandrun: the test does not pass under the profile as it is: app.toml: exit status 3\n"
        "sandrun: hint: this shows why: sandrun -p ./app.toml -- /bin/sh -c 'exit 3'\n"
    )
    assert (place / "app.toml").read_text() == PROFILE


def test_a_test_that_changes_its_mind(who: Who, place: Path) -> None:
    """If the last run fails, nothing is written."""
    count = "echo x >>out/count; test $(wc -l <out/count) -lt 3"
    done = shrink(who, place, test=count)
    assert done.returncode == 125
    assert "left as it was" in done.stderr
    assert (place / "app.toml").read_text() == PROFILE


def test_it_goes_on_where_it_stopped(who: Who, place: Path) -> None:
    """The tries bound the runs, and answers in a state file are not asked for again."""
    whole = json.loads(shrink(who, place, "--check", "--json").stdout)
    first = shrink(who, place, "--check", "--json", "--tries", "5", "--state", "answers")
    assert first.returncode == 1
    assert "stopped after 5 runs" in first.stderr
    second = shrink(who, place, "--json", "--state", "answers")
    assert second.returncode == 0
    one, two = json.loads(first.stdout), json.loads(second.stdout)
    assert (one["complete"], one["runs"], one["runs"] + two["runs"]) == (False, 5, whole["runs"])
    assert (two["removed"], two["narrowed"]) == (whole["removed"], whole["narrowed"])
    third = shrink(who, place, "--state", "answers")
    assert third.returncode == 125
    assert "cannot go on: answers: the profile, the command or the directory is another" in third.stderr


def test_it_goes_on_after_it_was_killed(who: Who, place: Path) -> None:
    """The state is kept all the time, and what it has is used. It is killed while the fourth run goes on."""
    fourth = "echo x >>out/count; test -e other/stop && test $(wc -l <out/count) = 4 && touch out/here && sleep 60"
    test = f"{fourth}; {TEST}"
    whole = json.loads(shrink(who, place, "--check", "--json", test=test).stdout)
    (place / "out/count").unlink()
    (place / "other/stop").touch()
    words = [*who.sandrun, "shrink", "--state", "answers", "app.toml", "--", "/bin/sh", "-c", test]
    with who.popen(words, cwd=place) as process:
        wait_for(place / "out/here")
        process.kill()
    (place / "other/stop").unlink()
    known = json.loads((place / "answers").read_text())
    assert known["passed"] or known["failed"]
    done = json.loads(shrink(who, place, "--state", "answers", "--json", test=test).stdout)
    assert done["removed"] == whole["removed"]
    assert done["runs"] + len(known["passed"]) + len(known["failed"]) == whole["runs"]


def test_a_run_that_hangs_is_ended(who: Who, place: Path) -> None:
    """What waits for ever without a grant counts as failed, and nothing of it is left."""
    done = shrink(who, place, "--timeout", "5s", "--json", test="cat other/notes || sleep 1000")
    assert done.returncode == 0, done.stderr
    needed = [entry["entry"] for entry in json.loads(done.stdout)["narrowed"]]
    assert '"other"' in needed


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupt_leaves_nothing(who: Who, place: Path, number: signal.Signals) -> None:
    """Ctrl-C ends the runs and the work (130); the file stays, and a process that ignores SIGTERM goes too.

    If this is killed, the kernel ends the runs.
    """
    program = "trap '' TERM; touch out/here; sleep 60"
    words = [*who.sandrun, "shrink", "app.toml", "--", "/bin/sh", "-c", program]
    with who.popen(words, cwd=place, stderr=subprocess.PIPE, text=True) as process:
        wait_for(place / "out/here")
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err.strip()) == (-9 if number == signal.SIGKILL else 130, "")
    assert (place / "app.toml").read_text() == PROFILE


def test_what_is_inherited(who: Who, place: Path) -> None:
    """With --inherited, grants of a built-in profile go too; its denials and limits stay."""
    (place / "app.toml").write_text('extends = "builtin:default"\n')
    assert "0 grants" in shrink(who, place).stdout
    done = shrink(who, place, "--inherited")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"narrowed  builtin:default:\d+: filesystem.write\[0\]|removed   builtin:default", done.stdout)
    after = (place / "app.toml").read_text()
    assert after.startswith('extends = "builtin:default"\nreplace = [')
    assert sandrun("-q", "-p", "./app.toml", "--", "/bin/sh", "-c", TEST, who=who, cwd=place).returncode == 0
    compared = sandrun("profile", "diff", "default", "./app.toml", who=who, cwd=place)
    assert {line[0] for line in compared.stdout.splitlines()} == {"-"}


def test_progress_is_for_terminals(who: Who, place: Path) -> None:
    """One line that is written over and taken away at the end."""
    master, slave = pty.openpty()
    words = [*who.sandrun, "shrink", "--check", "app.toml", "--", "/bin/sh", "-c", TEST]
    env = {**who.env, "TERM": "xterm"}
    with who.popen(words, cwd=place, env=env, stdout=subprocess.PIPE, stderr=slave) as process:
        process.communicate(timeout=60)
    os.close(slave)
    text = shown(master)
    assert re.search(r"\rsandrun: shrinking app\.toml: run \d+ of the test, \d+ of \d+ steps taken\x1b\[K", text)
    assert text.endswith("\r\x1b[K")
    assert "\n" not in text


def test_a_file_that_changes_meanwhile(who: Who, place: Path) -> None:
    """What somebody else wrote there is not overwritten, and be it the test."""
    (place / "app.toml").write_text(PROFILE.replace('"unused"', '"app.toml"'))
    done = shrink(who, place, test=f"{TEST}; echo '# mine' >>app.toml; true")
    assert (done.returncode, done.stdout) == (125, "")
    assert "app.toml: it was changed meanwhile" in done.stderr
    assert (place / "app.toml").read_text().startswith(PROFILE.replace('"unused"', '"app.toml"') + "# mine\n")
    assert sorted(os.listdir(place)) == ["app.toml", "in", "other", "out", "unused"]


def test_a_file_that_cannot_be_replaced(who: Who, place: Path) -> None:
    """It is said before the first run, unless nothing is to be written."""
    if who.uid == 0:
        pytest.skip("root can write everywhere")
    place.chmod(0o555)
    done = shrink(who, place, test="touch out/ran")
    assert (done.returncode, done.stdout) == (125, "")
    assert done.stderr == f"sandrun: cannot write the profile: {place}/app.toml: Permission denied (EACCES)\n"
    assert not (place / "out/ran").exists()
    assert shrink(who, place, "--check").returncode == 1


def test_a_file_that_is_a_link(who: Who, place: Path) -> None:
    """The link stays, the file that it leads to changes, and what it extends is looked for beside the link."""
    os.rename(place / "app.toml", place / "in/base.toml")
    (place / "real.toml").write_text('extends = "./base.toml"\n[filesystem]\nread = ["unused"]\n')
    (place / "in/link.toml").symlink_to("../real.toml")
    who.own(place / "real.toml")
    done = sandrun("shrink", "in/link.toml", "--", "/bin/sh", "-c", TEST, who=who, cwd=place)
    assert (done.returncode, done.stderr) == (0, "")
    assert (place / "in/link.toml").is_symlink()
    assert (place / "real.toml").read_text() == 'extends = "./base.toml"\n[filesystem]\nread = []\n'


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (
            ["absent.toml", "--", "true"],
            125,
            "cannot read the profile: absent.toml: No such file or directory (ENOENT)",
        ),
        (["app.toml"], 2, "missing argument"),
        (["--jobs", "0", "app.toml", "--", "true"], 2, "jobs"),
        (["--timeout", "soon", "app.toml", "--", "true"], 2, '--timeout soon: not a time: "soon"'),
        (["--frob", "app.toml", "--", "true"], 2, "no such option: --frob"),
        (["app.toml", "--", "no-such-command"], 125, "no-such-command"),
        (["--state", "in", "app.toml", "--", "true"], 125, "cannot write the state: in: it is no regular file"),
    ],
)
def test_what_cannot_be_done(who: Who, place: Path, words: list[str], status: int, message: str) -> None:
    """Status 2 for wrong usage, 125 for what could not be told, and a message."""
    done = sandrun("shrink", *words, who=who, cwd=place)
    assert (done.returncode, done.stdout) == (status, "")
    assert message in done.stderr.lower() or message in done.stderr
    assert (place / "app.toml").read_text() == PROFILE
