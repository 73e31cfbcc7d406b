"""`sandrun.run` and `sandrun.Popen`: what `subprocess` promises, of a command that is confined."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import sandrun
from sandrun.library import launcher
from tests.library.leaks import nothing_left
from tests.support import CHECKOUT, Who, descendants, in_child, kill_all, need_landlock, reap_orphans

if TYPE_CHECKING:
    from collections.abc import Iterator

KILL = {"isolate": "signals", "optional": ["process.isolate"]}
"""No pid namespace, whose init would end the tree by itself."""


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    with nothing_left():
        yield


@pytest.fixture(params=("", "python"), ids=("front", "python"))
def executor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each test of this is run with the native front, and with what Python alone does."""
    monkeypatch.setenv("SANDRUN_EXECUTOR", request.param)
    if not request.param:
        monkeypatch.delenv("SANDRUN_EXECUTOR")
    return str(request.param)


# --- what goes in and comes out --------------------------------------------------------------------------------------


def test_input_and_output(executor: str) -> None:
    """Bytes go in, both outputs come back apart, and nothing of sandrun's own is in them."""
    done = sandrun.run(["sh", "-c", "cat; echo error >&2; exit 3"], input=b"in\0put\n", capture_output=True)
    assert (done.stdout, done.stderr, done.returncode, done.ending) == (b"in\0put\n", b"error\n", 3, "exited")
    assert isinstance(done, subprocess.CompletedProcess)
    assert done.args == ["sh", "-c", "cat; echo error >&2; exit 3"]


def test_big_both_ways() -> None:
    """More than any pipe holds goes in and comes out at once."""
    data = os.urandom(5_000_000)
    assert sandrun.run(["cat"], input=data, capture_output=True).stdout == data


def test_text() -> None:
    """As subprocess: `text`, `encoding` and `errors`."""
    assert sandrun.run(["cat"], input="äöü\n", stdout=-1, text=True, encoding="utf-8").stdout == "äöü\n"
    assert sandrun.run(["printf", r"\344"], stdout=-1, encoding="latin-1").stdout == "ä"
    assert sandrun.run(["printf", r"\344"], stdout=-1, encoding="utf-8", errors="replace").stdout == "\ufffd"


def test_streams(tmp_path: Path) -> None:
    """DEVNULL, files, and both outputs in one."""
    assert sandrun.run(["cat"], stdin=subprocess.DEVNULL, stdout=-1).stdout == b""
    merged = sandrun.run(["sh", "-c", "echo a; echo b >&2"], stdout=-1, stderr=subprocess.STDOUT)
    assert merged.stdout == b"a\nb\n"
    with (tmp_path / "out").open("wb") as file:
        sandrun.run(["echo", "x"], stdout=file)
    assert (tmp_path / "out").read_text() == "x\n"


def test_wrong_combinations() -> None:
    """What subprocess refuses is refused in its words, before anything is started."""
    with pytest.raises(ValueError, match="stdin and input"):
        sandrun.run(["cat"], input=b"", stdin=-1)
    with pytest.raises(ValueError, match="capture_output"):
        sandrun.run(["cat"], capture_output=True, stdout=-1)


def test_no_shell() -> None:
    """Who asks for one, as of subprocess, is told how to have it; an argument that nothing knows is one too many."""
    for launch in (sandrun.run, sandrun.Popen):
        with pytest.raises(TypeError, match=r'shell: write \["sh", "-c", "\.\.\."\]') as caught:
            launch("echo $HOME", shell=True)
        assert isinstance(caught.value, sandrun.UsageError)
        with pytest.raises(TypeError, match="executable"):
            launch(["true"], executable="/bin/false")


def test_cwd(tmp_path: Path) -> None:
    """The command starts there, and may work there, as on a command line; a directory that is not there is said."""
    done = sandrun.run(["sh", "-c", "pwd; echo x >made"], cwd=tmp_path, stdout=-1, text=True)
    assert done.stdout == f"{tmp_path}\n"
    assert (tmp_path / "made").exists()
    with pytest.raises(FileNotFoundError):
        sandrun.run(["true"], cwd=tmp_path / "absent")


def test_environment(executor: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`env` is all that the command gets, with any names and values; without it the profile chooses."""
    monkeypatch.setenv("SECRET", "no")
    monkeypatch.setenv("LANG", "C.UTF-8")
    given = {"A": "b c\n=d", "LD_X": "e", "*": "f", "PYTHONPATH": "/nowhere", "HOME": "/h", "MIXED.name": "ü"}
    done = sandrun.run(["/usr/bin/env", "-0"], env=given, profile="strict", stdout=-1)
    got = dict(line.split("=", 1) for line in done.stdout.decode().split("\0") if line)
    assert got.pop("TMPDIR", "/tmp") == "/tmp"
    assert got == given
    assert b"SECRET" not in sandrun.run(["/usr/bin/env"], stdout=-1).stdout
    assert b"LANG=" in sandrun.run(["/usr/bin/env"], stdout=-1).stdout
    assert b"LANG=" not in sandrun.run(["/usr/bin/env"], stdout=-1, env={}).stdout


def test_values_are_in_no_command_line() -> None:
    """Whoever lists processes sees names of variables only."""
    seen = "for f in /proc/[0-9]*/cmdline; do tr '\\0' ' ' <$f; done"
    values = [f"hunter{os.getpid()}-{number}-" for number in range(3)]  # others' are none of this test's
    profile = sandrun.Profile.default().env(FIRST=values[0])
    with sandrun.Popen(["sleep", "60"], profile=profile, env={"SECOND": values[1], "LD_T": values[2]}) as process:
        lines = subprocess.run(["sh", "-c", seen], capture_output=True).stdout
        process.kill()
    assert b"SECOND" in lines
    assert not [value for value in values if value.encode() in lines]


def test_launcher_is_not_given_what_the_command_is(tmp_path: Path) -> None:
    """A library that is preloaded, and a home with profiles, are for the command alone."""
    (tmp_path / ".config/sandrun/profiles").mkdir(parents=True)
    (tmp_path / ".config/sandrun/profiles/strict.toml").write_text("not TOML")
    env = {"HOME": str(tmp_path), "LD_PRELOAD": "/nowhere.so", "PYTHONHOME": "/nowhere"}
    done = sandrun.run(["/bin/sh", "-c", "echo $HOME $LD_PRELOAD"], profile="strict", env=env, capture_output=True)
    assert done.stdout.decode() == f"{tmp_path} /nowhere.so\n"


def test_pass_fds(tmp_path: Path) -> None:
    """Descriptors keep their numbers, and others do not get in."""
    read, write = os.pipe()
    other = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(other, True)
    try:
        code = f"import os; os.write({write}, b'given'); print(*os.listdir('/proc/self/fd'))"
        done = sandrun.run(["/usr/bin/python3", "-I", "-c", code], pass_fds=[write], stdout=-1, text=True)
        listing = {"3"}  # the directory itself
        assert set(done.stdout.split()) | listing == {"0", "1", "2", str(write)} | listing
        assert os.read(read, 100) == b"given"
    finally:
        for fd in (read, write, other):
            os.close(fd)


# --- how it ends -----------------------------------------------------------------------------------------------------


def test_signal(executor: str) -> None:
    """A command that dies of a signal has its negative number; one that exits with 128 + n has that."""
    done = sandrun.run(["sh", "-c", "kill -TERM $$"])
    assert (done.returncode, done.ending) == (-signal.SIGTERM, "signalled")
    done = sandrun.run(["sh", "-c", "exit 143"])
    assert (done.returncode, done.ending) == (143, "exited")


def test_statuses_of_sandrun_are_the_commands_own() -> None:
    """A command may exit with 125 to 127: nothing is raised for that."""
    assert [sandrun.run(["sh", "-c", f"exit {n}"]).returncode for n in (123, 124, 125, 126, 127)] == [*range(123, 128)]


def test_timeout_of_the_profile() -> None:
    """`time_timeout` ends it as the command line does, and is no exception."""
    done = sandrun.run(["sleep", "60"], time_timeout="200ms", stderr=subprocess.DEVNULL)
    assert (done.returncode, done.ending) == (124, "timeout")


@pytest.mark.parametrize("profile", [{}, KILL], ids=("namespace", "signals"))
def test_timeout_of_the_caller(executor: str, profile: dict[str, Any]) -> None:
    """`timeout` raises what subprocess raises, with the output so far, and nothing of the tree is left."""
    need_landlock(6)
    code = "echo begun; setsid sleep 361 & trap '' TERM; sleep 361; sleep 361"
    for timeout in (1, 30):
        with pytest.raises(subprocess.TimeoutExpired) as caught:
            sandrun.run(["sh", "-c", code], timeout=timeout, stdout=-1, **profile)
        if caught.value.stdout:
            break  # else it had no time to begin
    assert caught.value.stdout == b"begun\n"
    assert caught.value.cmd == ["sh", "-c", code]


@pytest.mark.parametrize("options", [{}, {"stdout": subprocess.PIPE}], ids=("plain", "captured"))
def test_interrupt(options: dict[str, Any]) -> None:
    """Ctrl-C while a command runs: KeyboardInterrupt is raised, and the command is gone with all that it started."""
    sandrun.run(["true"], **options)  # an interrupted import is Python's to answer for
    main = threading.main_thread().ident or 0
    timer = threading.Timer(0.5, signal.pthread_kill, (main, signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        timer.start()
        sandrun.run(["sh", "-c", "trap '' INT; sleep 61 & sleep 61"], **options)
    timer.join()


def test_check() -> None:
    """`check` raises an error that is subprocess's too, and has what is known of the run."""
    with pytest.raises(sandrun.CalledProcessError, match="exit status 3") as caught:
        sandrun.run(["sh", "-c", "echo out; exit 3"], check=True, stdout=-1)
    assert isinstance(caught.value, subprocess.CalledProcessError)
    assert (caught.value.returncode, caught.value.output, caught.value.denials) == (3, b"out\n", None)
    assert caught.value.process.enforcement
    assert pickle.loads(pickle.dumps(caught.value)).returncode == 3


# --- what is told of it ----------------------------------------------------------------------------------------------


def test_record(executor: str) -> None:
    """What was enforced, by what, and what was used."""
    done = sandrun.run(["sh", "-c", ":"], capture_output=True)
    record = {one.key: one for one in done.enforcement}
    assert "seccomp" in record["syscalls"].mechanisms
    assert record["privileges.no_new_privs"].state == "enforced"
    assert not any(one.lost for one in done.enforcement)
    assert done.warnings == ()
    assert 0 < (done.resources.wall or 0) < 60
    assert (done.resources.max_rss or 0) > 100_000
    assert (done.denials, done.report) == (None, None)


def test_denials(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """`explain` has what was refused and what would grant it; stderr is the command's alone."""
    secret = tmp_path / "secret"
    secret.write_text("x")
    done = sandrun.run(
        ["cat", str(secret)], profile="strict", explain=True, report=True, stderr=-1, cwd="/", read="/bin"
    )
    assert done.denials is not None
    assert str(secret) in {denial.target for denial in done.denials}
    assert any("--read" in denial.remedy for denial in done.denials)
    assert done.stderr.startswith(b"cat: ")
    assert b"sandrun" not in done.stderr
    assert done.report is not None
    assert done.report["explained"]["findings"]
    assert capfd.readouterr() == ("", "")


FORGED = """for at in t/sandrun-report-*; do echo '{"forged": 1}' > "$at/report.json"; chmod 500 "$at"; done; exit 3"""
SWAPPED = """for at in t/sandrun-report-*; do mv "$at" gone; ln -s "$PWD/shut" "$at"; done"""


@pytest.mark.parametrize("script", [FORGED, SWAPPED], ids=("forged", "swapped"))
def test_the_report_is_no_file_of_the_command(script: str, executor: str, who: Who) -> None:
    """Where it may write to the directory for temporary files it may keep the report away, but leave none of its own.

    Nor is anything touched behind a link that it leaves. The control is the same command without sandrun, which writes there.
    """
    place = who.tmp / "reported"
    (place / "t/sandrun-report-x").mkdir(parents=True)
    (place / "shut/in").mkdir(parents=True)
    who.own(place, *place.rglob("*"))

    def launches() -> sandrun.CompletedProcess:
        os.chdir(place)
        assert subprocess.run(["sh", "-c", script], check=False).returncode in (0, 3)
        assert (Path("gone").is_dir(), Path("t/sandrun-report-x/report.json").exists()) in (
            (True, False),
            (False, True),
        )
        for left in ("t", "gone"):
            subprocess.run(["sh", "-c", "chmod -Rf 700 $0; rm -rf $0", left], check=True)
        Path("t").mkdir()
        Path("shut").chmod(0o500)
        tempfile.tempdir = "t"
        return sandrun.run(["sh", "-c", script], report=True, stderr=-1)

    done = in_child(launches, who)
    assert done.returncode == (3 if script is FORGED else 0)
    assert done.report is None or done.report["status"] == done.returncode
    assert (place / "shut").stat().st_mode & 0o777 == 0o500


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "CURL_CA_BUNDLE"])
def test_variables_of_the_command_grant_nothing(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`env` is what the command sees: that a variable there names certificates opens no file. One of the caller's does."""
    secret = tmp_path / "secret"
    secret.write_text("x")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    words = ["sh", "-c", f'test "${name}" = "{secret}" && cat "${name}"']
    assert sandrun.run(words, env={name: str(secret)}, capture_output=True).stdout == b""
    monkeypatch.setenv(name, str(secret))
    assert sandrun.run(words, env={name: str(secret)}, capture_output=True).stdout == b"x"


def test_many_denials_do_not_block() -> None:
    """What is told of a run may be more than a pipe holds."""
    code = """
import os
for number in range(400):
    for name in (f"/var/none-{number}-" + 200 * "x", "/etc/shadow"):
        try:
            os.open(name, os.O_RDWR | os.O_CREAT)
        except OSError:
            pass
"""
    done = sandrun.run(["/usr/bin/python3", "-I", "-c", code], explain=True, timeout=60)
    assert done.returncode == 0
    assert len(repr(done.denials)) > 100_000


# --- what cannot be launched -----------------------------------------------------------------------------------------


def test_errors(executor: str, capfd: pytest.CaptureFixture[str]) -> None:
    """A launch that fails raises what the command line says, and says nothing itself."""
    with pytest.raises(sandrun.CommandError) as absent:
        sandrun.run(["no-such-command"])
    assert (absent.value.status, absent.value.message) == (127, "command not found: no-such-command")
    assert "searched" in str(absent.value.hint)
    with pytest.raises(sandrun.CommandError) as refused:
        sandrun.run(["/etc/passwd"])
    assert refused.value.status == 126
    with pytest.raises(sandrun.ProfileError, match="not a size") as wrong:
        sandrun.run(["true"], memory="1Q")
    assert wrong.value.lines() == ['--memory: not a size: "1Q"', f"hint: {wrong.value.problems[0].hint}"]
    with pytest.raises(sandrun.ProfileError, match="no such profile"):
        sandrun.run(["true"], profile="strcit")
    with pytest.raises(sandrun.UsageError) as unknown:
        sandrun.run(["true"], memry="1G")
    assert unknown.value.hint == 'did you mean "memory"?'
    with pytest.raises(sandrun.UsageError, match="no command"):
        sandrun.run([])
    assert capfd.readouterr() == ("", "")


def test_errors_close_the_pipes() -> None:
    """A launch that fails leaves no descriptor and no warning, also of pipes."""
    for _ in range(3):
        with pytest.raises(sandrun.CommandError):
            sandrun.Popen(["no-such-command"], stdin=-1, stdout=-1, stderr=-1)


# --- Popen -----------------------------------------------------------------------------------------------------------


def test_popen() -> None:
    """It runs when the constructor returns; it is talked to, signalled and waited for as subprocess does."""
    with sandrun.Popen(["cat"], stdin=-1, stdout=-1) as process:
        assert isinstance(process, subprocess.Popen)
        assert (process.poll(), process.ending) == (None, None)
        assert process.enforcement
        assert process.command_pid in descendants()
        process.stdin.write(b"x")
        process.stdin.close()
        assert process.stdout.read() == b"x"
        assert process.wait(60) == 0
    with sandrun.Popen(["sleep", "61"]) as process:
        process.terminate()
        assert process.wait(60) == -signal.SIGTERM
    code = "trap '' TERM; setsid sleep 61 & echo ready; sleep 61"
    with sandrun.Popen(["sh", "-c", code], stdout=-1, **KILL) as process:
        process.stdout.readline()
        process.terminate()
        process.kill()
        process.kill()
        assert process.wait(60) == -signal.SIGKILL


def test_a_stopped_launcher_is_ended() -> None:
    """`kill` reaches a command that has stopped, and with it its launcher."""
    with sandrun.Popen(["sh", "-c", "kill -STOP $$"], start_new_session=True) as process:
        os.kill(process.pid, signal.SIGSTOP)
        process.kill()
        assert process.wait(60) == -signal.SIGKILL


def test_a_killed_launcher() -> None:
    """Nobody told how it ended, and that is what is said."""
    with sandrun.Popen(["sleep", "61"]) as process:
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait(60) == -signal.SIGKILL
    assert process.ending == "lost"


# --- from where it is called -----------------------------------------------------------------------------------------


def echo(number: int) -> bytes:
    """One launch."""
    return bytes(sandrun.run(["echo", str(number)], stdout=-1).stdout)


def test_threads() -> None:
    """Eight threads at once."""
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert list(pool.map(echo, range(24))) == [f"{n}\n".encode() for n in range(24)]


def test_processes() -> None:
    """A pool of multiprocessing."""
    code = f"""
import multiprocessing, sys
sys.path.append({str(CHECKOUT)!r})
import sandrun
def echo(number):
    return int(sandrun.run(["echo", str(number)], profile="strict", stdout=-1).stdout)
with multiprocessing.get_context("fork").Pool(2) as pool:
    print(pool.map(echo, range(6)))
"""
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[0, 1, 2, 3, 4, 5]\n", "")


def test_without_path(executor: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The launcher is not searched for; nor is a command by its path."""
    monkeypatch.setenv("PATH", "")
    assert sandrun.run(["/bin/echo", "x"], stdout=-1).stdout == b"x\n"
    monkeypatch.delenv("PATH")
    assert sandrun.run(["/bin/echo", "x"], stdout=-1).stdout == b"x\n"


def test_as_either_user(who: Who, box: Path) -> None:
    """Root and an ordinary user alike."""

    def launches() -> tuple[Any, ...]:
        env = {"PATH": os.environ["PATH"], "A": "b"}
        done = sandrun.run(["sh", "-c", "id -u; exit 4"], stdout=-1, env=env, cwd=box)
        return done.returncode, done.stdout

    def fails() -> None:
        sandrun.run(["true"], timeout=10, profile={"filesystem": {"raed": []}})

    assert in_child(launches, who) == (4, f"{who.uid}\n".encode())
    with pytest.raises(sandrun.ProfileError) as caught:
        in_child(fails, who)
    assert caught.value.problems[0].hint == 'did you mean "read"?'


def test_from_a_checkout_that_is_not_installed(tmp_path: Path) -> None:
    """The package that is imported launches, from wherever it is; the current directory has no say."""
    (tmp_path / "sandrun").mkdir()
    (tmp_path / "sandrun/__init__.py").write_text("raise SystemExit('the wrong one')")
    code = f"import sys; sys.path.insert(0, {str(CHECKOUT)!r}); import sandrun; sandrun.run(['echo', 'x'], profile='strict')"
    for variables in ({}, {"SANDRUN_EXECUTOR": "python"}):
        env = {"PATH": os.environ["PATH"], "SANDRUN_CACHE": "off", **variables}
        done = subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True)
        assert (done.stdout, done.stderr) == ("x\n", "")


def test_no_own_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Python that does not know where it is cannot start a launcher, and says so."""
    monkeypatch.setattr(sys, "executable", "")
    with pytest.raises(sandrun.SandrunError, match=r"sys\.executable"):
        launcher.words()


def test_words_are_paths(tmp_path: Path) -> None:
    """Words may be bytes and paths, with any bytes in them; a command alone needs no list."""
    program = tmp_path / "a b"
    program.write_text('#!/bin/sh\nprintf %s "$1"\n')
    program.chmod(0o755)
    assert sandrun.run([program, b"\xff-x"], stdout=-1, cwd=tmp_path).stdout == b"\xff-x"
    assert sandrun.run("/bin/pwd", stdout=-1, cwd=Path("/usr")).stdout == b"/usr\n"


def test_readme(tmp_path: Path) -> None:
    """The example of README.md runs as it stands."""
    section = (CHECKOUT / "README.md").read_text().split("\n## From Python\n")[1].split("\n## ")[0]
    (tmp_path / "example.py").write_text(section.split("```python\n")[1].split("```")[0])
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(CHECKOUT), "HOME": "/root", "SANDRUN_CACHE": "off"}
    call = [sys.executable, "-B", "-X", "dev", "-W", "error", "example.py"]
    done = subprocess.run(call, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "seccomp" in done.stdout
    assert "open /etc/shadow for reading" in done.stdout


def test_a_launcher_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that ends without a word is no hang, even if somebody else holds its descriptors open."""
    holders: list[Any] = []
    before = descendants()

    def words() -> tuple[str, ...]:
        return "/bin/sh", "-c", "sleep 300 & exit 125", "sh"

    monkeypatch.setattr(launcher, "words", words)
    for start in (lambda: sandrun.Popen(["true"]), lambda: asyncio.run(sandrun.create_subprocess_exec("true"))):
        with pytest.raises(sandrun.SandrunError, match="before the command was started: status 125"):
            holders.append(start())
    kill_all({pid: name for pid, name in descendants().items() if pid not in before})
    reap_orphans()


def test_closed_standard_descriptors() -> None:
    """A program without descriptors 0 to 2 launches, and its pipes do not get into their place."""

    def launches() -> tuple[Any, ...]:
        for fd in range(3):
            os.close(fd)
        rule = {"path": "/etc/hostname", "access": ["read_file"]}
        done = sandrun.run(["/bin/echo", "x"], profile="strict", rule=[rule], stdout=subprocess.PIPE)
        return done.stdout, sandrun.run(["true"], profile="strict").returncode

    assert in_child(launches) == (b"x\n", 0)


def test_ignored_children(executor: str, tmp_path: Path) -> None:
    """Where SIGCHLD is ignored nobody can wait for the launcher; the status is known all the same."""

    def launches() -> tuple[int, ...]:
        os.chdir(tmp_path)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        return (
            sandrun.run(["sh", "-c", "exit 3"]).returncode,
            sandrun.run(["sh", "-c", "exit 4"], stdout=-1).returncode,
            sandrun.run(["sh", "-c", "kill -9 $$"], stdout=-1).returncode,
        )

    assert in_child(launches) == (3, 4, -9)


@pytest.mark.timeout(400)
def test_an_interrupt_while_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whenever it comes, also before anybody knows the launcher's process id, nothing is left running."""

    monkeypatch.delenv("SANDRUN_EXECUTOR", raising=False)

    def launches() -> tuple[int, set[int]]:
        count = 0
        sandrun.run(["true"])  # an interrupted import is Python's (and pytest's) to answer for
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        for at in range(60):
            try:
                # Python notices one that comes right before a call that waits only when that returns, so it comes again.
                signal.setitimer(signal.ITIMER_REAL, 0.00005 * (at + 1), 5)
                sandrun.run(["sleep", "60"])
            except KeyboardInterrupt:
                signal.setitimer(signal.ITIMER_REAL, 0)
                count += 1
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        left = set(descendants())
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        return count, left

    assert in_child(launches, timeout=300) == (60, set())


def test_mistakes_in_a_dict() -> None:
    """Are named by their key: there is no file."""
    with pytest.raises(sandrun.ProfileError) as caught:
        sandrun.run(["true"], profile={"filesystem": {"raed": ["/"]}})
    (problem,) = caught.value.problems
    assert problem.message.startswith("profile:")
    assert problem.message.endswith(': filesystem.raed: unknown key "raed"')
    assert problem.hint == 'did you mean "read"?'
