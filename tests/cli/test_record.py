"""--status-fd and --report: what programs are told of a run, and that the command has no part in it."""

from __future__ import annotations

import json
import os
import stat
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import need_landlock, sandrun

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support import Who

DOCUMENT = {
    "sandrun",
    "command",
    "status",
    "started",
    "errors",
    "warnings",
    "outcome",
    "workspace",
    "locked",
    "broker",
    "explained",
    "trace",
    "used",
    "plan",
    "protections",
}
OUTCOME = {
    "how",
    "status",
    "signal",
    "wall",
    "user",
    "system",
    "max_rss",
    "resources",
    "network",
    "killed",
    "survivors",
    "left",
}


@pytest.fixture(autouse=True)
def _landlock() -> None:
    need_landlock(1)


def events(*words: str, who: Who, box: Path) -> tuple[int, list[dict[str, Any]], str]:
    """Run with --status-fd to a pipe: the exit status, the events, and stderr."""
    reader, writer = os.pipe()
    done = sandrun("-q", "--status-fd", str(writer), *words, who=who, cwd=box, pass_fds=[writer])
    os.close(writer)
    with open(reader) as file:
        return done.returncode, [json.loads(line) for line in file], done.stderr


def ended(event: dict[str, Any]) -> dict[str, Any]:
    """An exit event without what was used, which is looked at."""
    assert 0 <= event.pop("wall") < 60
    assert 0 <= event.pop("user") < 60
    assert 0 <= event.pop("system") < 60
    assert event.pop("max_rss") > 100_000
    assert event.pop("killed") == 0
    assert event.pop("resources") is None
    return event


def test_events_of_a_run(who: Who, box: Path) -> None:
    """A run is a planned event with what is enforced, an exec event with the command's pid, then an exit event."""
    status, (planned, first, second), _ = events("--", "sh", "-c", "exit 7", who=who, box=box)
    assert status == 7
    assert planned.keys() == {"sandrun", "event", "warnings", "enforcement"}
    assert (planned["sandrun"], planned["event"]) == (1, "planned")
    assert "network.connect" in {row["key"] for row in planned["enforcement"]}
    assert {row["state"] for row in planned["enforcement"]} == {"enforced"}
    assert first.keys() == {"sandrun", "event", "pid"}
    assert (first["sandrun"], first["event"]) == (1, "exec")
    assert first["pid"] > 1
    assert ended(second) == {"sandrun": 1, "event": "exit", "status": 7, "signal": 0, "how": "exit"}


def test_events_of_a_signal(who: Who, box: Path) -> None:
    """Death by a signal names it."""
    _, seen, _ = events("--", "sh", "-c", "kill -9 $$", who=who, box=box)
    assert ended(seen[-1]) == {"sandrun": 1, "event": "exit", "status": 137, "signal": 9, "how": "signal"}


def test_events_of_a_timeout(who: Who, box: Path) -> None:
    """The end by the profile's own time is told from a signal."""
    _, seen, _ = events("--timeout", "200ms", "--", "sleep", "60", who=who, box=box)
    assert (seen[-1]["status"], seen[-1]["how"]) == (124, "timeout")
    assert 0.2 <= seen[-1]["wall"] < 30


def test_events_of_a_wrong_command_line(who: Who, box: Path) -> None:
    """Who names the descriptor first is told even what cannot be parsed, in parts."""
    reader, writer = os.pipe()
    words = ["--status-fd", str(writer), "--bogus"]
    done = sandrun(*words, "--", "true", "-q", who=who, cwd=box, pass_fds=[writer])
    quiet = sandrun(*words, "-q", "--", "true", who=who, cwd=box, pass_fds=[writer])
    os.close(writer)
    with open(reader) as file:
        event, again = map(json.loads, file)
    assert event == again
    assert (done.returncode, quiet.returncode, quiet.stderr) == (125, 125, "")
    assert done.stderr == "".join(f"sandrun: {line}\n" for line in event["lines"])
    assert (event["event"], event["kind"], event["status"]) == ("error", "usage", 125)
    assert event["lines"] == ["no such option: --bogus", f"hint: {event['hint']}"]


@pytest.mark.parametrize(
    ("words", "status", "kind"),
    [
        (["--read", "/no/such", "--", "true"], 125, "unsupported"),
        (["-p", "no-such-profile", "--", "true"], 125, "profile"),
        (["--require", "landlock>=99", "--", "true"], 125, "unsupported"),
        (["--", "no-such-command"], 127, "command"),
        (["--", "/etc/passwd"], 126, "command"),
        (["--report", "/no/such/file", "--", "true"], 125, "error"),
    ],
)
def test_no_exec_event_if_it_never_ran(who: Who, box: Path, words: list[str], status: int, kind: str) -> None:
    """sandrun's own failure is an error event alone, so that its status is told from the same one of a command.

    A program that wants quiet has it there, and stderr is the command's.
    """
    exit_status, (event,), stderr = events(*words, who=who, box=box)
    assert exit_status == status
    assert event.keys() == {"sandrun", "event", "status", "message", "kind", "lines", "hint"}
    assert (event["event"], event["status"], event["kind"]) == ("error", status, kind)
    assert event["message"] == "; ".join(event["lines"])
    assert stderr == ""


def test_a_command_that_exits_125_did_run(who: Who, box: Path) -> None:
    """The exec event tells 125 of the command from 125 of sandrun."""
    status, seen, _ = events("--", "sh", "-c", "exit 125", who=who, box=box)
    assert status == 125
    assert [event["event"] for event in seen] == ["planned", "exec", "exit"]


def test_the_command_does_not_get_the_descriptor(who: Who, box: Path) -> None:
    """The descriptor of --status-fd is closed in the command; handing it over by --pass-fd is refused."""
    fd = os.open("/dev/null", os.O_WRONLY)
    words = ["--", "bash", "-c", f"true >&{fd}"]
    try:
        control = sandrun("-q", "--pass-fd", str(fd), *words, who=who, cwd=box, pass_fds=[fd])
        closed = sandrun("-q", "--status-fd", str(fd), *words, who=who, cwd=box, pass_fds=[fd])
        both = sandrun("--status-fd", str(fd), "--pass-fd", str(fd), *words, who=who, cwd=box, pass_fds=[fd])
    finally:
        os.close(fd)
    assert control.returncode == 0, control.stderr
    assert closed.returncode == 1
    assert "Bad file descriptor" in closed.stderr
    assert both.returncode == 125
    assert "same file descriptor" in both.stderr


def test_a_reader_of_events_that_goes_away(who: Who, box: Path) -> None:
    """Nobody reading the events is warned of and harms no one."""
    reader, writer = os.pipe()
    os.close(reader)
    done = sandrun("-q", "--status-fd", str(writer), "--", "true", who=who, cwd=box, pass_fds=[writer])
    os.close(writer)
    assert done.returncode == 0
    assert done.stderr == f"sandrun: warning: cannot write: --status-fd {writer}: Broken pipe (EPIPE)\n"


def test_report_of_a_run(who: Who, box: Path) -> None:
    """The report has every key, mode 0600, and is the only file left."""
    done = sandrun("--report", "out.json", "--", "sh", "-c", "exit 3", who=who, cwd=box)
    document = json.loads((box / "out.json").read_text())
    assert done.returncode == 3
    assert document.keys() == DOCUMENT
    assert document["outcome"].keys() == OUTCOME
    assert (document["sandrun"], document["status"], document["started"]) == (1, 3, True)
    assert document["command"] == ["sh", "-c", "exit 3"]
    assert document["outcome"]["how"] == "exit"
    assert 0 < document["outcome"]["wall"] < 30
    assert document["outcome"]["max_rss"] > 100_000
    assert {row["state"] for row in document["protections"]} <= {"enforced", "partial", "lost"}
    assert os.listdir(box) == ["out.json"]
    made = (box / "out.json").stat()
    assert (stat.S_IMODE(made.st_mode), made.st_uid) == (0o600, who.uid)


def test_report_counts_what_was_left_behind(who: Who, box: Path) -> None:
    """Processes that outlive the command are killed and counted."""
    sandrun("-q", "--report", "out.json", "--", "sh", "-c", "sleep 60 & sleep 60 & exit 0", who=who, cwd=box)
    assert json.loads((box / "out.json").read_text())["outcome"]["killed"] == 2


def test_report_of_a_timeout_and_of_a_signal(who: Who, box: Path) -> None:
    """How it ended is told apart."""
    sandrun("-q", "--report", "out.json", "--timeout", "200ms", "--", "sleep", "9", who=who, cwd=box)
    timed_out = json.loads((box / "out.json").read_text())
    assert (timed_out["status"], timed_out["outcome"]["how"]) == (124, "timeout")
    sandrun("-q", "--report", "out.json", "--", "sh", "-c", "kill -9 $$", who=who, cwd=box)
    killed = json.loads((box / "out.json").read_text())
    assert (killed["status"], killed["outcome"]["how"], killed["outcome"]["signal"]) == (137, "signal", 9)


@pytest.mark.parametrize(
    ("words", "status"), [(["--read", "/no/such", "--", "true"], 125), (["--", "no-such-command"], 127)]
)
def test_report_of_a_failure(who: Who, box: Path, words: list[str], status: int) -> None:
    """A command that never ran is reported with the lines that stderr has."""
    done = sandrun("--report", "out.json", *words, who=who, cwd=box)
    document = json.loads((box / "out.json").read_text())
    assert (done.returncode, document["status"], document["started"]) == (status, status, False)
    assert document["outcome"] is None
    assert "".join(f"sandrun: {line}\n" for line in document["errors"]) == done.stderr


def test_report_holds_no_value_of_the_environment(who: Who, box: Path) -> None:
    """Neither what is passed nor what is set is told by the report or the dry run."""
    env = {**who.env, "PASSED": "first-secret"}
    words = ["--env", "PASSED", "--env", "SETTING=second-secret", "--", "sh", "-c", 'echo "$PASSED $SETTING"']
    done = sandrun("-q", "--report", "out.json", *words, who=who, cwd=box, env=env)
    assert done.stdout == "first-secret second-secret\n"
    assert "-secret" not in (box / "out.json").read_text()
    for json_flag in ([], ["--json"]):
        shown = sandrun("--dry-run", *json_flag, *words, who=who, cwd=box, env=env)
        assert shown.returncode == 0
        assert "SETTING" in shown.stdout
        assert "-secret" not in shown.stdout


@pytest.mark.parametrize("name", ["link", "fifo", "folder", "dangling", "no/such/place", ""])
def test_report_replaces_nothing_but_a_file(who: Who, box: Path, name: str) -> None:
    """A link, a fifo, a directory and a path that is not there are refused before anything runs."""
    (box / "target").write_text("kept")
    (box / "link").symlink_to("target")
    (box / "dangling").symlink_to("absent")
    os.mkfifo(box / "fifo")
    (box / "folder").mkdir()
    who.own(*box.iterdir())
    done = sandrun("--report", f"{box}/{name}", "--", "touch", f"{box}/ran", who=who, cwd=box)
    assert done.returncode == 125
    assert "cannot write the report" in done.stderr
    assert (box / "target").read_text() == "kept"
    assert not (box / "ran").exists()
    assert not (box / "absent").exists()


def test_report_to_a_closed_directory(who: Who, box: Path) -> None:
    """A place where this user may not write is refused before anything runs."""
    if who.is_root:
        pytest.skip("nothing is closed to root")
    done = sandrun("--report", "/etc/out.json", "--", "touch", f"{box}/ran", who=who, cwd=box)
    assert done.returncode == 125
    assert "Permission denied (EACCES)" in done.stderr
    assert not (box / "ran").exists()


def test_the_command_cannot_forge_the_report(who: Who, box: Path) -> None:
    """A command that may write where the report goes finds nothing of it there, and what it puts there is replaced."""
    script = "ls -A >seen; ln -s /tmp/elsewhere out.json; echo '{}' >.sandrun-report.1"
    done = sandrun("-q", "--report", "out.json", "--", "sh", "-c", script, who=who, cwd=box)
    assert done.returncode == 0
    assert (box / "seen").read_text() == "seen\n"
    assert not (box / "out.json").is_symlink()
    assert json.loads((box / "out.json").read_text())["started"] is True


def test_a_report_that_cannot_be_written_in_the_end(who: Who, box: Path) -> None:
    """The command's failure stays its status; its success becomes 123."""
    for status, expected in ((0, 123), (5, 5)):
        script = f"mkdir -p out.json/x; exit {status}"
        done = sandrun("-q", "--report", "out.json", "--", "sh", "-c", script, who=who, cwd=box)
        assert done.returncode == expected
        assert "cannot write the report: out.json: Is a directory (EISDIR)" in done.stderr
        assert sorted(os.listdir(box)) == ["out.json"]
        (box / "out.json" / "x").rmdir()
        (box / "out.json").rmdir()
