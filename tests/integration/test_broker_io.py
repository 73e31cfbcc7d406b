"""Inputs and outputs: what a command leaves reaches its file checked, whole, and together with all else, or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import stat
import sys
import textwrap
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import CHECKOUT, need_landlock, need_root, sandrun

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    from tests.support import Who

REFUSED, FAILED = 123, 125
HEAD = """
schema = 1
extends = "strict"
replace = ["syscalls.default", "syscalls.promises"]  # a shell forks
[filesystem]
execute = ["@system"]
"""
LEAVE_A = 'printf %s "$1" >&$SANDRUN_OUT_A'


@pytest.fixture(autouse=True)
def _landlock() -> None:
    need_landlock(1)


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {_toml(each)}" for name, each in value.items()) + " }"
    return json.dumps(value)


class Area:
    """A directory `out` for targets, and a launch whose command is a shell, with a place of its own for the journal."""

    def __init__(self, who: Who, box: Path) -> None:
        self.who, self.box = who, box
        self.out = box / "out"
        self.out.mkdir()
        who.own(self.out)
        self.env = who.env | {"XDG_STATE_HOME": str(box / "state")}

    def profile(self, text: str = "", **members: object) -> None:
        """Write the profile `p.toml`: an output `a` to out/a with these members, and more."""
        lines = [f"{name} = {_toml(value)}" for name, value in ({"path": "out/a"} | members).items()]
        output = "\n".join(["[[broker.output]]", 'name = "a"', *lines])
        (self.box / "p.toml").write_text(HEAD + output + "\n" + textwrap.dedent(text))
        self.who.own(self.box / "p.toml")

    def run(
        self, script: str, *words: str, options: tuple[str, ...] = (), **more: Any
    ) -> subprocess.CompletedProcess[Any]:
        """Run a script of the shell under the profile."""
        words = ("-p", "./p.toml", *options, "--", "sh", "-c", script, "sh", *words)
        return sandrun(*words, who=self.who, cwd=self.box, env=self.env, **more)

    def left(self) -> dict[str, str]:
        """What is in `out`, temporary files among it."""
        return {path.name: path.read_text() for path in self.out.iterdir()}


@pytest.fixture
def area(who: Who, box: Path) -> Area:
    return Area(who, box)


def test_inputs_and_outputs(area: Area) -> None:
    """The command reads and writes descriptors, cannot name the files, and the report says what became of them."""
    (area.box / "in").write_text("given")
    area.profile('[[broker.input]]\nname = "some-data"\n')
    script = "cat in; read x <&$SANDRUN_IN_SOME_DATA; printf %s $x >&$SANDRUN_OUT_A"
    done = area.run(script, options=("--in", "some-data=in", "--report", "report.json"))
    assert done.returncode == 0, done.stderr
    assert "cat" not in done.stdout
    assert area.left() == {"a": "given"}
    document = json.loads((area.box / "report.json").read_text())
    path = str(area.out / "a")
    assert document["broker"] == [{"name": "a", "path": path, "became": "written", "size": 5, "reason": ""}]


def test_the_helper(area: Area) -> None:
    """A program in Python finds them by name."""
    (area.box / "in").write_text("given")
    area.profile()
    code = (
        "from sandrun import broker\n"
        "with broker.input('b') as b, broker.output('a') as a: a.write(b.read() + b.read())\n"
        "assert set(broker.inputs()) == {'B'} and set(broker.outputs()) == {'A'}\n"
    )
    words = ("-r", "@system", "-r", sys.prefix, "-r", sys.base_prefix, "-r", str(CHECKOUT), "--in", "b=in")
    words += ("-p", "./p.toml", "--env", f"PYTHONPATH={CHECKOUT}")
    done = sandrun(*words, "--", sys.executable, "-B", "-c", code, who=area.who, cwd=area.box, env=area.env)
    assert done.returncode == 0, done.stderr
    assert area.left() == {"a": "given"}


@pytest.mark.parametrize(
    ("members", "good", "bad", "why"),
    [
        ({"max_size": 4}, "1234", "12345", "larger than its limit of 4 bytes"),
        ({"max_size": "1K"}, "x" * 1024, "x" * 1025, "larger than its limit of 1024 bytes"),
        ({"line": "[a-z]+"}, "a\nb\n", "a\nB\n", "line 2 does not match"),
        ({"line": "[a-z]+"}, "", "a\nb", "line 2 has no end"),
        ({"line": "[a-z]*"}, "\n", "a\rb\n", "line 1 does not match"),
        ({"json_schema": {"type": "array"}}, "[1]", "{}", "not what its schema says: not of type array"),
        ({"json_schema": True}, "1", "1 2", "not JSON"),
        ({"validator": ["grep", "-q", "good"]}, "good", "evil", "its validator grep refuses it (status 1)"),
        ({"validator": ["sh", "-c", "echo 'no\tway' >&2; read x"]}, "x\n", "x", "(status 1): no\\tway"),
    ],
)
def test_checks(area: Area, members: dict[str, object], good: str, bad: str, why: str) -> None:
    """What an output may be is written; what it may not is told, with status 123, and the target stays as it was."""
    area.profile(**members)
    done = area.run(LEAVE_A, good)
    assert (done.returncode, done.stderr) == (0, "")
    assert area.left() == {"a": good}
    done = area.run(LEAVE_A, bad)
    assert done.returncode == REFUSED
    assert why in done.stderr
    assert done.stderr.startswith(f"sandrun: cannot write output a: {area.out}/a: ")
    assert done.stderr.count("\n") == 1
    assert area.left() == {"a": good}


def test_utf8(area: Area) -> None:
    """Bytes that are no UTF-8 are refused where text is asked for, and are an output like any other elsewhere."""
    area.profile(utf8=True)
    done = area.run(r"printf 'a\377' >&$SANDRUN_OUT_A")
    assert done.returncode == REFUSED
    assert "byte 1 is not UTF-8" in done.stderr
    area.profile()
    assert area.run(r"printf 'a\377' >&$SANDRUN_OUT_A").returncode == 0
    assert (area.out / "a").read_bytes() == b"a\xff"


def test_a_validator_that_hangs(area: Area) -> None:
    """It is ended, it is confined, and nothing is written."""
    area.profile(validator=["sh", "-c", "while :; do :; done"], validator_timeout="300ms")
    done = area.run(LEAVE_A, "x")
    assert done.returncode == REFUSED
    assert "its validator took more than 0.3 seconds" in done.stderr
    assert area.left() == {}


def test_a_validator_is_confined(area: Area) -> None:
    """It reads what it was granted, writes nothing, and what it is given cannot be changed by it."""
    (area.box / "rules").write_text("x")
    words = ["sh", "-c", f"read x <rules && ! : >>{area.out}/b"]
    area.profile(validator=["sh", "-c", "read x <rules"])
    assert area.run(LEAVE_A, "x").returncode == REFUSED
    area.profile(validator=["sh", "-c", "read x <rules || test x = $x"], validator_read=["rules"])
    assert area.run(LEAVE_A, "x").returncode == 0
    area.profile(validator=words, validator_read=["rules"])
    area.run(LEAVE_A, "x")
    assert area.left() == {"a": "x"}


def test_a_validator_that_cannot_run(area: Area) -> None:
    """No answer is no."""
    area.profile(validator=["/no/such/program"])
    done = area.run(LEAVE_A, "x")
    assert done.returncode == REFUSED
    assert "its validator /no/such/program refuses it (status 127)" in done.stderr
    assert area.left() == {}


def test_all_or_none(area: Area) -> None:
    """One output that is refused keeps the others back, and there is one line for each."""
    area.profile(
        '[[broker.output]]\nname = "b"\npath = "out/b"\nmax_size = 1\n[[broker.output]]\nname = "c"\npath = "out/c"\nline = "x"\n'
    )
    done = area.run("echo 1 >&$SANDRUN_OUT_A; echo 2 >&$SANDRUN_OUT_B; echo y >&$SANDRUN_OUT_C")
    assert done.returncode == REFUSED
    first, second, third = done.stderr.splitlines()
    assert "output b: " in first
    assert "output c: " in second
    assert third == "sandrun: no output is written: all are, or none"
    assert area.left() == {}
    done = area.run("echo 1 >&$SANDRUN_OUT_A; printf 2 >&$SANDRUN_OUT_B; echo x >&$SANDRUN_OUT_C")
    assert area.left() == {"a": "1\n", "b": "2", "c": "x\n"}


def test_a_command_that_fails(area: Area) -> None:
    """Its status is its own, and nothing is written."""
    area.profile()
    done = area.run("echo half >&$SANDRUN_OUT_A; exit 3")
    assert done.returncode == 3
    assert done.stderr == "sandrun: no output is written: the command failed\n"
    done = area.run("echo half >&$SANDRUN_OUT_A; kill -9 $$")
    assert done.returncode == 128 + signal.SIGKILL
    assert area.left() == {}


def make_link(path: Path) -> None:
    (path.parent.parent / "elsewhere").write_text("old")
    path.symlink_to("../elsewhere")


@pytest.mark.parametrize(
    ("make", "what"),
    [(make_link, "a symbolic link"), (os.mkfifo, "a fifo"), (os.mkdir, "a directory")],
)
def test_targets_that_are_refused(area: Area, make: Callable[[Path], None], what: str) -> None:
    """Only a regular file is replaced, and that is found out before the command runs."""
    make(area.out / "a")
    area.profile()
    done = area.run("touch /tmp/ran; echo ran; echo x >&$SANDRUN_OUT_A")
    assert (done.returncode, done.stdout) == (FAILED, "")
    assert f"cannot write output a: {area.out}/a: it is {what}" in done.stderr
    if make is make_link:
        assert (area.box / "elsewhere").read_text() == "old"


def test_a_target_that_the_command_could_write(area: Area) -> None:
    """A check would mean nothing: the launch is refused, with what to do."""
    area.profile()
    done = area.run("echo x >&$SANDRUN_OUT_A", options=("-w", "out"))
    assert done.returncode == FAILED
    assert f"the command may itself write the target of output a: {area.out}/a" in done.stderr
    assert "hint: grant it less" in done.stderr
    assert area.left() == {}


def test_a_validator_that_the_command_could_write(area: Area) -> None:
    """Neither would its judgment mean anything."""
    (area.box / "judge").mkdir()
    (area.box / "judge/check.sh").write_text("exit 0")
    area.who.own(area.box / "judge", area.box / "judge/check.sh")
    area.profile(validator=["sh", "${PROFILE_DIR}/judge/check.sh"], validator_read=["judge/check.sh"])
    assert area.run(LEAVE_A, "x").returncode == 0
    done = area.run(LEAVE_A, "y", options=("-w", "judge"))
    assert done.returncode == FAILED
    assert f"the command may write what judges output a: {area.box}/judge/check.sh" in done.stderr
    assert area.left() == {"a": "x"}


def test_rules_that_the_command_could_write(area: Area) -> None:
    """Nor where they are in a directory that the validator may read, behind a link, or in the file of a schema."""
    (area.box / "rules").mkdir()
    (area.box / "rules/list").write_text("good\n")
    (area.box / "fixed").write_text("good\n")
    (area.box / "rules/link").symlink_to("../fixed")
    (area.box / "rules/schema.json").write_text('{"const": "good"}')
    area.who.own(area.box / "rules")
    cases: tuple[tuple[str, dict[str, object]], ...] = (
        ("rules", {"validator": ["grep", "-qxf${PROFILE_DIR}/rules/list"], "validator_read": ["rules"]}),
        ("rules/link", {"validator": ["grep", "-qxf", "${PROFILE_DIR}/rules/link"], "validator_read": ["rules/link"]}),
        ("rules/schema.json", {"json_schema": "rules/schema.json"}),
    )
    for part, members in cases:
        area.profile(**members)
        good = '"good"' if "json_schema" in members else "good\n"
        assert area.run(LEAVE_A, good).returncode == 0
        (area.out / "a").unlink()
        done = area.run(LEAVE_A, good, options=("-w", "rules"))
        assert done.returncode == FAILED
        assert f"the command may write what judges output a: {area.box}/{part}\n" in done.stderr
        assert area.left() == {}


def test_a_link_that_the_command_left(area: Area) -> None:
    """It leads neither an input to what the caller may read, nor an output to where the caller may write."""
    work = area.box / "work"
    work.mkdir()
    (work / "in").write_text("hers")
    (work / "out").mkdir()
    (area.box / "secret").write_text("secret")
    (area.box / "way").symlink_to("work")
    area.who.own(work, work / "in", work / "out")
    area.profile()
    into = ("--out", "a=work/out/a")
    again = ("-w", "work", "--in", "b=way/in")
    copy = "cat <&$SANDRUN_IN_B >&$SANDRUN_OUT_A"
    plant = "rm -r work/in work/out; ln -s ../secret work/in; ln -s ../out work/out"
    assert area.run(f"{copy}; {plant}", options=again).returncode == 0
    assert area.left() == {"a": "hers"}
    done = area.run(copy, options=again)
    assert (done.returncode, area.left()) == (FAILED, {"a": "hers"})
    assert f"input b: {work}/in is a link that a command in this sandbox could have made\n" in done.stderr
    done = area.run(LEAVE_A, "x", options=("-w", "work", *into))
    assert (done.returncode, area.left()) == (FAILED, {"a": "hers"})
    assert f"output a: {work}/out is a link that a command in this sandbox could have made\n" in done.stderr
    assert area.run(LEAVE_A, "x", options=into).returncode == 0
    assert area.left() == {"a": "x"}


def test_asked_to_end_while_a_validator_runs(area: Area) -> None:
    """Nothing is written then, and the validator is not waited for; a signal that is ignored asks nothing."""
    mark = f"mark-{os.urandom(8).hex()}".encode()
    area.profile(validator=["sh", "-c", "while :; do :; done", mark.decode()], validator_timeout="1h")
    words = [*area.who.sandrun, "-p", "./p.toml", "--", "sh", "-c", "echo x >&$SANDRUN_OUT_A"]
    with area.who.popen(words, cwd=area.box, env=area.env, stdin=-1, stderr=-1, text=True) as process:
        assert wait_for(lambda: len(running(mark)) >= 2), "sandrun and its command"
        process.terminate()
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == REFUSED
    assert "sandrun was asked to end" in stderr
    assert area.left() == {}


def test_killed_while_a_validator_runs(area: Area) -> None:
    """Nothing is left of the validator."""
    mark = f"mark-{os.urandom(8).hex()}".encode()
    area.profile(validator=["sh", "-c", "while :; do :; done", mark.decode()], validator_timeout="1h")
    words = [*area.who.sandrun, "-p", "./p.toml", "--", "sh", "-c", "echo x >&$SANDRUN_OUT_A"]
    with area.who.popen(words, cwd=area.box, env=area.env, stdin=-1, stderr=-1) as process:
        assert wait_for(lambda: len(running(mark)) >= 2), "sandrun and its command"
        process.kill()
    assert wait_for(lambda: not running(mark))
    assert area.left() == {}


def running(mark: bytes) -> list[str]:
    """The processes with this word on their command line."""
    found = []
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
            if mark in file.read().split(b"\0"):
                found.append(pid)
    return found


def wait_for(is_so: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 60
    while not is_so():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@pytest.mark.parametrize("how", ["removed", "exchanged", "link", "closed"])
def test_a_directory_that_changes_meanwhile(area: Area, how: str) -> None:
    """A target whose directory vanished, or is another one by now, is not written, wherever it would go."""
    area.profile()
    words = [*area.who.sandrun, "-p", "./p.toml", "--", "sh", "-c", "echo x >&$SANDRUN_OUT_A; echo go; read line"]
    with area.who.popen(words, cwd=area.box, env=area.env, stdin=-1, stdout=-1, stderr=-1, text=True) as process:
        assert process.stdout.readline() == "go\n"
        other = area.box / "other"
        if how == "removed":
            area.out.rmdir()
        elif how == "closed":
            if area.who.is_root:
                pytest.skip("root may write there")
            area.out.chmod(0o555)
        else:
            area.out.rename(other)
            if how == "exchanged":
                area.out.mkdir()
                area.who.own(area.out)
            else:
                area.out.symlink_to("other")
        _, stderr = process.communicate("\n", 60)
    assert process.returncode == REFUSED
    assert "cannot write output a: " in stderr
    assert not area.out.exists() or area.left() == {}
    assert not other.exists() or not list(other.iterdir())


def test_a_target_that_changes_its_kind_meanwhile(area: Area) -> None:
    """A link that somebody puts there while the command runs is not followed, and stays."""
    area.profile()
    words = [*area.who.sandrun, "-p", "./p.toml", "--", "sh", "-c", "echo x >&$SANDRUN_OUT_A; echo go; read line"]
    with area.who.popen(words, cwd=area.box, env=area.env, stdin=-1, stdout=-1, stderr=-1, text=True) as process:
        assert process.stdout.readline() == "go\n"
        make_link(area.out / "a")
        _, stderr = process.communicate("\n", 60)
    assert process.returncode == REFUSED
    assert "it is a symbolic link" in stderr
    assert (area.out / "a").is_symlink()
    assert (area.box / "elsewhere").read_text() == "old"


def test_mode_and_directories(area: Area) -> None:
    """A new file has the declared mode; directories that lack are made, but for nothing else than an output."""
    area.profile(path="out/deep/er/a", mode="0640", mkdir=True)
    assert area.run("exit 1").returncode == 1
    assert area.left() == {}
    assert area.run(LEAVE_A, "x").returncode == 0
    assert stat.S_IMODE((area.out / "deep/er/a").stat().st_mode) == 0o640
    area.profile(path="out/deep/er/a")
    (area.out / "deep/er/a").chmod(0o604)
    assert area.run(LEAVE_A, "y").returncode == 0
    assert stat.S_IMODE((area.out / "deep/er/a").stat().st_mode) == 0o604
    area.profile(path="out/no/a")
    done = area.run(LEAVE_A, "x")
    assert done.returncode == FAILED
    assert "mkdir = true" in done.stderr


def test_owner(area: Area) -> None:
    """Root gives a file to whom the profile names, keeps the owner of what it replaces, and nobody else gives any away."""
    area.profile(owner="4321:1234")
    done = area.run(LEAVE_A, "x")
    if not area.who.is_root:
        assert done.returncode == FAILED
        assert "only root gives files to 4321:1234" in done.stderr
        return
    need_root()
    found = (area.out / "a").stat()
    assert (found.st_uid, found.st_gid) == (4321, 1234)
    area.profile()
    assert area.run(LEAVE_A, "y").returncode == 0
    found = (area.out / "a").stat()
    assert (found.st_uid, found.st_gid) == (4321, 1234)


def test_the_flag_says_where(area: Area) -> None:
    """`--out` gives a declared output another target; what it is held to stays."""
    area.profile(max_size=1)
    done = area.run(LEAVE_A, "12", options=("--out", "a=out/other"))
    assert done.returncode == REFUSED
    assert "larger than its limit of 1 bytes" in done.stderr
    assert area.run(LEAVE_A, "1", options=("--out", "A=out/other")).returncode == 0
    assert area.left() == {"other": "1"}


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--in", "b=missing"), "cannot open input b: {box}/missing: No such file or directory (ENOENT)"),
        (("--in", "b=out"), "cannot open input b: {box}/out: not a regular file"),
        (("--in", "b"), 'not a name and a path: "b"'),
        (("--in", "1=x"), 'not a name: "1"'),
        (("--out", "b=out/a"), "outputs a and b have the same target"),
        (("--out", "b=out/.."), "it is a directory"),
        (("--out", "b=no/b"), "cannot write output b: {box}/no/b: No such file or directory (ENOENT)"),
        (("--exec",), "--exec does not go with inputs and outputs"),
    ],
)
def test_mistakes(area: Area, options: tuple[str, ...], why: str) -> None:
    """What cannot be is said before anything runs."""
    area.profile()
    done = area.run("echo ran", options=options)
    assert (done.returncode, done.stdout) == (FAILED, "")
    assert why.format(box=area.box) in done.stderr


def test_an_input_cannot_be_written(area: Area) -> None:
    """The descriptor is for reading, and naming it opens nothing else."""
    (area.box / "in").write_text("given")
    area.who.own(area.box / "in")
    area.profile()
    script = "(echo x >&$SANDRUN_IN_B) || (echo x >/proc/self/fd/$SANDRUN_IN_B) || (echo x >in) || echo none"
    assert area.run(script, options=("--in", "b=in")).stdout == "none\n"
    assert (area.box / "in").read_text() == "given"


def test_the_mode_of_an_input(area: Area) -> None:
    """It is out of reach of a command that may change no file; where it is not, the record says so."""
    file = area.box / "in"
    file.write_text("x")
    file.chmod(0o600)
    area.who.own(file)
    (area.box / "work").mkdir()
    area.who.own(area.box / "work")
    area.profile()
    change = "chmod 640 /proc/self/fd/$SANDRUN_IN_B"
    for more in ((), ("-w", "work")):
        options = (*more, "--in", "b=in")
        area.run(change, options=options)
        is_told = "setxattr reach the files of inputs" in area.run(change, options=(*options, "-n")).stdout
        assert file.stat().st_mode & 0o777 == (0o640 if is_told else 0o600)
        assert more or not is_told


def test_what_is_changed_later_does_not_count(area: Area) -> None:
    """The command is gone, with all that it started, before its outputs are looked at: nobody changes them any more."""
    area.profile(max_size="1K")
    # Long enough for a supervisor that has to wait for a processor.
    script = "(sleep 20; while :; do echo more; done) >&$SANDRUN_OUT_A 2>&1 & echo x >&$SANDRUN_OUT_A"
    done = area.run(script)
    assert done.returncode == 0, done.stderr
    assert area.left() == {"a": "x\n"}


def test_a_file_that_claims_to_be_huge(area: Area) -> None:
    """A sparse output of petabytes is refused after its limit, at once."""
    area.profile()
    code = "import os; os.ftruncate(int(os.environ['SANDRUN_OUT_A']), 1 << 50)"
    words = ("-p", "./p.toml", "-x", "@system", "-r", "@system", "-r", sys.base_prefix, "-x", sys.base_prefix)
    done = sandrun(
        *words, "--", os.path.realpath(sys.executable), "-I", "-S", "-c", code, who=area.who, cwd=area.box, env=area.env
    )
    assert done.returncode == REFUSED, done.stderr
    assert "larger than its limit of 16777216 bytes" in done.stderr


def test_a_dry_run_makes_nothing(area: Area) -> None:
    """It shows the plan, opens nothing, and the files need not be there."""
    area.profile(path="no/where/a")
    done = area.run("echo ran", options=("--dry-run", "--in", "b=missing"))
    assert done.returncode == 0, done.stderr
    assert "broker.output" in done.stdout
    assert "checked and written after the command, all or none" in done.stdout
    assert not (area.box / "state").exists()
