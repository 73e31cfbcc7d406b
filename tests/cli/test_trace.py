"""`sandrun trace`, as a user runs it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import sandrun

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support import Who

SHELL = ("/bin/sh", "-c")


def traced(who: Who, *words: str) -> dict[str, Any]:
    """The trace of a run in a project of its own, from its report."""
    report = who.home / "report.json"
    (who.home / "work").mkdir()
    who.own(who.home / "work")
    sandrun("trace", "--report", report, *words, who=who, cwd=who.home / "work")
    return dict(json.loads(report.read_text())["trace"])


def test_a_trace(who: Who) -> None:
    """The command's output and status stay its own; the trace is on standard error."""
    done = sandrun("trace", "--", *SHELL, "echo out; cat /dev/null; exit 7", who=who)
    assert done.returncode == 7
    assert done.stdout == "out\n"
    lines = done.stderr.splitlines()
    assert " system calls of " in lines[0]
    assert any(line.split()[2:3] == ["execve"] for line in lines)
    assert any(line.startswith("sandrun: sets: @default ") for line in lines)
    assert any(line.startswith("sandrun: promises: stdio") for line in lines)
    assert any("tightest built-in profile" in line for line in lines)


def test_nothing_is_restricted(who: Who) -> None:
    """Without options of a profile the command finds its environment, home and working directory as they are."""
    code = "cd && echo $SECRET >file && cat file && pwd"
    done = sandrun("trace", "--", *SHELL, code, who=who, env={**who.env, "SECRET": "kept"})
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"kept\n{who.home}\n"


def test_json(who: Who) -> None:
    """One line of JSON, and the same in the report."""
    report = who.home / "report.json"
    done = sandrun("trace", "--json", "--report", report, "--", "/bin/true", who=who)
    assert done.returncode == 0
    document = json.loads(done.stderr)
    assert document.pop("sandrun") == 1
    assert json.loads(report.read_text())["trace"] == document
    counts = {row["syscall"]: row for row in document["syscalls"]}
    assert sum(row["calls"] for row in document["syscalls"]) == document["total"]
    assert counts["exit_group"]["calls"] == 1
    assert counts["exit_group"]["first"]["pid"] > 1
    assert document["promises"] == ["stdio"]
    assert document["besides_promises"] == []
    assert document["gap"] is None


def test_under_a_profile(who: Who) -> None:
    """What the profile's filter refuses is refused, and said."""
    options = ("-p", "none", "-x", "@all", "-w", ".", "--deny-syscall", "mkdir", "--deny-syscall", "mkdirat")
    document = traced(who, *options, "--", *SHELL, "mkdir new")
    assert [(row["error"], row["calls"]) for row in document["refused"]] == [("EPERM", 1)]
    assert not (who.home / "work" / "new").exists()


def test_the_tightest_profile_is_enough(who: Who) -> None:
    """Under the syscalls of the profile that is named the command does the same again; each looser one adds something."""
    command = (*SHELL, "cat /etc/hostname >/dev/null")
    document = traced(who, "--", *command)
    names = [row["profile"] for row in document["profiles"]]
    assert "default" in names
    (tightest,) = {document["tightest"]}
    assert next(row["profile"] for row in document["profiles"] if not row["refuses"]) == tightest
    sizes = [row["allows"] for row in document["profiles"]]
    assert sizes == sorted(sizes)
    done = sandrun("-q", "-p", f"builtin:{tightest}", "--", *command, who=who, cwd=who.home / "work")
    assert done.returncode == 0, (tightest, done.stderr)


def test_files_and_endpoints_count_as_well(who: Who, box: Path) -> None:
    """A profile whose calls would do is not named if it refuses what was read, written or connected to."""
    secret = box / "secret"
    secret.write_text("x")
    who.own(secret)
    document = traced(who, "--", *SHELL, f"cat {secret}")
    refuses = {row["profile"]: row["refuses"] for row in document["profiles"]}
    assert f"open {secret} for reading" in refuses["default"]
    assert document["tightest"] != "default"
    code = "import socket; socket.socket().connect_ex(('127.0.0.1', 9))"
    (who.home / "work").rmdir()
    document = traced(who, "--", who.sandrun[0], "-I", "-S", "-c", code)
    refused = [words for row in document["profiles"] for words in row["refuses"]]
    assert not document["profiles"] or "connect 127.0.0.1:9" in refused


def test_what_no_profile_allows(who: Who) -> None:
    """A call that every built-in profile refuses leaves none."""
    code = "import ctypes; ctypes.CDLL(None).ptrace(0, 0, 0, 0)"
    document = traced(who, "--", who.sandrun[0], "-I", "-S", "-c", code)
    assert document["profiles"] == []
    assert "ptrace" in document["besides_promises"]


def test_suicide_and_timeouts(who: Who) -> None:
    """A command that dies of a signal, and one that outlives its time, end as they would in a launch."""
    assert sandrun("trace", "--", *SHELL, "kill -9 $$", who=who).returncode == 137
    done = sandrun("trace", "-p", "none", "-x", "@all", "--timeout", "1", "--", *SHELL, "while :; do :; done", who=who)
    assert done.returncode == 124


def test_hostile_names(who: Who) -> None:
    """The name of a program cannot speak to the terminal."""
    evil = who.home / "e\x1b[31mvil"
    evil.write_text("#!/bin/sh\nexit 0\n")
    evil.chmod(0o755)
    copy = who.home / "c\x1bopy"
    copy.write_bytes((_program("true")).read_bytes())
    copy.chmod(0o755)
    who.own(evil, copy)
    done = sandrun("trace", "--", *SHELL, f"'{evil}'; exec '{copy}'", who=who)
    assert "\x1b" not in done.stderr


def _program(name: str) -> Any:
    from pathlib import Path

    return Path(f"/bin/{name}")


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        ((), 2, "no command given"),
        (("true",), 2, "no command given"),
        (("true", "--", "false"), 2, "not an option: true"),
        (("-n", "--", "true"), 2, "a trace runs the command"),
        (("--explain", "--", "true"), 2, "a trace runs the command"),
        (("--no-such-option", "--", "true"), 2, "no such option"),
        (("--", "no-such-command"), 127, "command not found: no-such-command"),
        (("-p", "no-such-profile", "--", "true"), 125, "no-such-profile"),
        (("--read", "$x", "--", "true"), 125, "$x"),
    ],
)
def test_wrong_usage(who: Who, words: tuple[str, ...], status: int, message: str) -> None:
    """Usage errors are 2, everything else that keeps the command from running as for a launch."""
    done = sandrun("trace", *words, who=who)
    assert done.returncode == status
    assert message in done.stderr
    assert "Traceback" not in done.stderr
