"""--explain on the command line: where it speaks, what goes together, and that the run is no other than without it."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from tests.support import need_landlock, sandrun
from tests.terminals import shown

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support import Who


@pytest.fixture(autouse=True)
def _landlock() -> None:
    need_landlock(1)


@pytest.fixture
def secret(who: Who, box: Path) -> Path:
    """A file that nothing grants, beside the working directory `work`."""
    (box / "work").mkdir()
    path = box / "secret"
    path.write_text("x")
    who.own(box / "work", path)
    return path


def test_it_speaks_on_stderr_and_the_status_is_the_command_s(who: Who, box: Path, secret: Path) -> None:
    """The command's output and status stay what they are; the likely cause, and what allows it, stand on stderr."""
    done = sandrun("--explain", "--", "sh", "-c", f"echo out; cat {secret} || exit 7", who=who, cwd=box / "work")
    assert (done.returncode, done.stdout) == (7, "out\n")
    lines = [line for line in done.stderr.splitlines() if line.startswith("sandrun: ")]
    assert lines[0].startswith(f"sandrun: likely cause: open {secret} for reading: ")
    assert "[cat, pid " in lines[0]
    assert any(f"to allow it: --read {secret}" in line for line in lines)
    assert "it would fail without sandrun too" not in done.stderr


def test_what_ordinary_permissions_refuse(who: Who, box: Path) -> None:
    """What no entry grants and modes refuse too is said to be both; what modes alone refuse is no denial."""
    if who.is_root:
        pytest.skip("no mode refuses root anything")
    path = box / "closed"
    path.write_text("x")
    path.chmod(0)
    who.own(path)
    (box / "work").mkdir()
    both = sandrun("--explain", "--", "cat", path, who=who, cwd=box / "work")
    assert f"sandrun:   it would fail without sandrun too: {path} may not be read" in both.stderr
    alone = sandrun("--explain", "--", "cat", path, who=who, cwd=box)
    assert alone.returncode == 1
    assert str(path) not in "".join(line for line in alone.stderr.splitlines() if line.startswith("sandrun: "))


def test_what_a_command_does_without_is_no_cause(who: Who, box: Path, secret: Path) -> None:
    """A command that ends well failed of nothing, whatever was refused on the way."""
    done = sandrun("--explain", "--", "sh", "-c", f"cat {secret}; true", who=who, cwd=box / "work")
    assert done.returncode == 0
    assert "likely cause" not in done.stderr
    assert "sandrun: refused, and no harm done:" in done.stderr


def test_nothing_refused(who: Who, box: Path) -> None:
    done = sandrun("--explain", "--", "true", who=who, cwd=box)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (0, "sandrun: explain: nothing was refused")


def test_json_and_the_report(who: Who, box: Path, secret: Path) -> None:
    """Both hold the same document; without --explain the report's is null."""
    words = ["--report", box / "out.json", "--", "cat", secret]
    done = sandrun("--explain", "--json", *words, who=who, cwd=box / "work")
    line = json.loads(done.stderr.splitlines()[-1])
    document = json.loads((box / "out.json").read_text())
    assert {"sandrun": 1, **document["explained"]} == line
    assert line["failed"]
    assert line["complete"]
    (finding,) = (one for one in line["findings"] if one["standing"] == "cause")
    assert finding["remedy"]["toml"] == f'filesystem.read = ["{secret}"]'
    assert finding["denials"][0]["act"] == "read"
    sandrun(*words, who=who, cwd=box / "work")
    assert json.loads((box / "out.json").read_text())["explained"] is None


def test_what_does_not_go_together(who: Who, box: Path) -> None:
    """A dry run has nothing to explain, and JSON of nothing is refused."""
    dry = sandrun("--explain", "--dry-run", "--", "true", who=who, cwd=box)
    assert dry.returncode == 125
    assert "do not go together" in dry.stderr
    plain = sandrun("--json", "--", "true", who=who, cwd=box)
    assert plain.returncode == 125


def test_hostile_names_are_escaped(who: Who, box: Path) -> None:
    """A name that a terminal would act on cannot reach it."""
    program = "import sys; open(b'/etc/\\x1b[31m\\xff', 'w')"
    done = sandrun(
        "--explain", "--", "python3", "-c", program, who=who, cwd=box, env={**who.env, "PATH": "/usr/bin:/bin"}
    )
    told = "\n".join(line for line in done.stderr.splitlines() if line.startswith("sandrun: "))
    assert "likely cause: make /etc/\\x1b[31m\\xff" in told
    assert "\x1b" not in told


def test_an_observer_inside_of_another(who: Who, box: Path) -> None:
    """A second listener is refused by the kernel: the inner command does not run, and it is said why."""
    inner = [*who.sandrun, "-q", "-p", "none", "--read", "@all", "--execute", "@all", "--explain", "--", "true"]
    options = ["-q", "-p", "none", "--read", "@all", "--execute", "@all", "--write", "@all"]
    control = sandrun(*options, "--", *inner, who=who, cwd=box)
    done = sandrun(*options, "--explain", "--", *inner, who=who, cwd=box)
    assert control.returncode == 0, control.stderr
    assert done.returncode == 125


def footer(*words: str, who: Who, place: Path) -> tuple[int, str]:
    """Run with a terminal as standard error, and return the status and what it showed."""
    ours, theirs = os.openpty()
    done = sandrun(*words, who=who, cwd=place, stderr=theirs)
    os.close(theirs)
    return done.returncode, shown(ours)


def test_the_footer_of_a_run_that_was_not_observed(who: Who, box: Path, secret: Path) -> None:
    """On a terminal, what the command line names and may not be read is said; not in a pipe, nor if all went well."""
    work = box / "work"
    status, text = footer("--", "cat", str(secret), who=who, place=work)
    assert status == 1, text
    assert f"sandrun: the command may not read {secret}: " in text
    assert f"--read {secret}" in text
    assert "hint: --explain" in text
    for options, command in (
        ((), ("ls", str(work))),
        (("-q",), ("cat", str(secret))),
        ((), ("cat", "absent")),
        ((), ("sh", "-c", "cat $0; true", str(secret))),
    ):
        assert "may not read" not in footer(*options, "--", *command, who=who, place=work)[1]
    piped = sandrun("--", "cat", secret, who=who, cwd=work)
    assert piped.returncode == 1
    assert "may not read" not in piped.stderr
