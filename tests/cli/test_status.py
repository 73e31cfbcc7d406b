"""Exit statuses and what stands on stderr: the command's own are passed on, sandrun's are never mistaken for them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support import CHECKOUT, need_landlock, need_program, sandrun

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support import Who


@pytest.fixture(autouse=True)
def _landlock() -> None:
    need_landlock(1)


def messages(stderr: str) -> list[str]:
    """The lines of sandrun, which must be all there are."""
    lines = stderr.splitlines()
    assert all(line.startswith("sandrun: ") for line in lines), stderr
    return [line.removeprefix("sandrun: ") for line in lines]


@pytest.mark.parametrize("status", [0, 1, 7, 123, 124, 125, 126, 127, 255])
def test_the_command_s_own_status(who: Who, box: Path, status: int) -> None:
    """Every status of a command that exits is passed on, also those that sandrun uses itself; stderr stays its own."""
    done = sandrun("-q", "--", "sh", "-c", f"exit {status}", who=who, cwd=box)
    assert (done.returncode, done.stdout, done.stderr) == (status, "", "")


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV, signal.SIGPIPE])
def test_death_by_a_signal(who: Who, box: Path, number: signal.Signals) -> None:
    """A command that dies of signal n is status 128 + n, said in the status alone."""
    done = sandrun("-q", "--", "sh", "-c", f"kill -{number.value} $$", who=who, cwd=box)
    assert (done.returncode, done.stderr) == (128 + number, "")


def test_sigsys_says_what_happened(who: Who, box: Path) -> None:
    """Death by kill-process is 159, and one line says that it was a refused syscall."""
    done = sandrun("-q", "--syscall-rule", "kill:0:ge:0:kill-process", "--", "sh", "-c", "kill -0 $$", who=who, cwd=box)
    assert done.returncode == 159
    first, hint = messages(done.stderr)
    assert "SIGSYS" in first
    assert hint.startswith("hint: ")


def test_not_found(who: Who, box: Path) -> None:
    """A command that is not on the PATH, an empty one, and a path that is not there: 127."""
    for command in ("no-such-command", "./no-such-command", "/no/such/command", ""):
        done = sandrun("-q", "--", command, who=who, cwd=box)
        assert done.returncode == 127, done.stderr
        assert messages(done.stderr)


def test_cannot_execute(who: Who, box: Path) -> None:
    """A file without execute permission, a directory, and a text that no interpreter is named in: 126."""
    plain = box / "plain"
    plain.write_text("text")
    who.own(plain)
    for command in ("./plain", ".", "/etc"):
        done = sandrun("-q", "--", command, who=who, cwd=box)
        assert done.returncode == 126, (command, done.stderr)
        assert messages(done.stderr)


def test_a_script_with_carriage_returns(who: Who, box: Path) -> None:
    """The interpreter is named with the carriage return that the kernel takes for a part of it."""
    script = box / "script"
    script.write_bytes(b"#!/bin/sh\r\necho ran\r\n")
    script.chmod(0o755)
    done = sandrun("-q", "--", "./script", who=who, cwd=box)
    assert (done.returncode, done.stdout) == (126, "")
    assert "its interpreter /bin/sh\\r: No such file or directory (ENOENT)" in done.stderr
    assert "carriage return" in done.stderr


def test_no_right_to_execute(who: Who, box: Path) -> None:
    """A command that exists and that no rule allows to execute: 126, and the missing rule is named."""
    done = sandrun("-q", "-p", "none", "--", "/bin/true", who=who, cwd=box)
    assert done.returncode == 126
    assert "--execute" in done.stderr


def test_timeout(who: Who, box: Path) -> None:
    """The timeout is 124 and says so; a command that ignores TERM is killed after the grace, which is 124 too."""
    for script in ("sleep 1000", "trap '' TERM; sleep 1000 & while :; do wait; done"):
        done = sandrun("-q", "--timeout", "300ms", "--grace", "300ms", "--", "sh", "-c", script, who=who, cwd=box)
        assert done.returncode == 124
        assert messages(done.stderr) == ["the command was ended by the timeout"]


def test_a_lost_protection_is_one_warning(who: Who, box: Path) -> None:
    """What an optional protection lost is one line; -q hides it; it never changes the status."""
    words = ("--selinux", "x", "--optional", "privileges.selinux", "--", "true")
    done = sandrun(*words, who=who, cwd=box)
    assert done.returncode == 0
    (line,) = messages(done.stderr)
    assert line.startswith("warning: not enforced here: ")
    assert "privileges.selinux (" in line
    assert sandrun("-q", *words, who=who, cwd=box).stderr == ""


def test_an_unkept_protection_is_refused(who: Who, box: Path) -> None:
    """What is not optional and cannot be kept is 125 with the remedy, and the command does not run."""
    done = sandrun("-p", "strict", "--selinux", "x", "--", "echo", "ran", who=who, cwd=box)
    assert (done.returncode, done.stdout) == (125, "")
    assert any(line.startswith("hint: ") for line in messages(done.stderr))


@pytest.mark.parametrize("place", ["sandrun.cli.main", "sandrun.cli.run.main", "sandrun.profile.loader.load"])
@pytest.mark.parametrize(
    ("error", "status", "says"),
    [("KeyboardInterrupt", 130, ""), ("ZeroDivisionError", 125, "sandrun: this is a bug in sandrun: please report it")],
)
def test_interrupts_and_bugs(place: str, error: str, status: int, says: str) -> None:
    """Ctrl-C before the command runs is 130 and quiet; an exception that nothing expects is 125, with its traceback."""
    module, _, name = place.rpartition(".")
    code = f"""
import sys, {module} as module
def fail(*_, **__): raise {error}
module.{name} = fail
sys.argv = ["sandrun", "--", "echo", "ran"]
from sandrun.__main__ import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=CHECKOUT)
    assert (done.returncode, done.stdout) == (status, "")
    assert ("Traceback" in done.stderr) == bool(says)
    assert says in done.stderr


def test_everything_works_without_standard_descriptors(who: Who, box: Path) -> None:
    """With 0, 1 and 2 closed a command runs, and no file that sandrun opens is taken for them."""
    shell = need_program("sh")
    for closed in ("<&-", ">&-", "2>&-", "<&- >&- 2>&-"):
        words = " ".join(f"'{word}'" for word in [*who.sandrun, "-q", "--", "sh", "-c", "exit 3"])
        assert who.run([shell, "-c", f"{words} {closed}"], cwd=box).returncode == 3
    words = " ".join(f"'{word}'" for word in [*who.sandrun, "--dry-run", "-p", "strict", "--", "true"])
    done = who.run([shell, "-c", f"{words} >&-"], cwd=box)
    assert done.returncode == 125
    assert messages(done.stderr) == ["cannot write: standard output: Bad file descriptor (EBADF)"]


def test_a_reader_that_goes_away(who: Who, box: Path) -> None:
    """`--dry-run | head` is quiet; a full device is an error."""
    words = " ".join(f"'{word}'" for word in [*who.sandrun, "--dry-run", "-p", "strict", "--", "true"])
    done = who.run(["bash", "-c", f"{words} | true; echo ${{PIPESTATUS[0]}}"], cwd=box)
    assert (done.stdout, done.stderr) == ("0\n", "")
    full = who.run(["sh", "-c", f"{words} >/dev/full"], cwd=box)
    assert full.returncode == 125
    assert messages(full.stderr) == ["cannot write: standard output: No space left on device (ENOSPC)"]


def test_a_directory_as_standard_input_is_refused(who: Who, box: Path) -> None:
    """A directory on 0 to 2 would be a way around every rule: the command does not run.

    Python itself ends with status 1 and a message of its own before a line of sandrun is read.
    """
    fd = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    try:
        done = sandrun("-q", "--", "touch", "ran", who=who, cwd=box, stdin=fd)
    finally:
        os.close(fd)
    assert done.returncode in (1, 125)
    assert "is a directory" in done.stderr
    assert not (box / "ran").exists()


def test_names_cannot_act_on_the_terminal(who: Who, box: Path) -> None:
    """Control characters and odd bytes of a name are escaped in a message."""
    done = sandrun("-q", "--", "./\x1b[31m\n\udcff\u202e", who=who, cwd=box)
    assert done.returncode == 127
    assert re.search(r"\./\\x1b\[31m\\n\\xff\\u202e", done.stderr)
    messages(done.stderr)
