"""Who executes a plan: the native program or Python, which is chosen by a variable; and `--exec`, where nobody stays."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pexpect
import pytest

from sandrun import native
from tests.integration.supervised import GRANTS, child_of, parent, python, start, terminal, wait_until
from tests.support import descendants, left_since, need, need_landlock, need_namespaces, need_program, sandrun

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support import Who

EXECUTORS = ("python", "native")
ALONE = (*GRANTS, "--isolate", "false", "--exec", "--")


@pytest.fixture(params=EXECUTORS)
def executor(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each of both; the native one where it was built."""
    if request.param == "native":
        need_native()
    return request.param


def need_native() -> None:
    """The native executor was built."""
    need(os.access(native.BINARY, os.X_OK), "the native executor is not built here: tools/build_native.py")


def chosen(who: Who, executor: str) -> dict[str, str]:
    """The environment of a user who chose an executor."""
    return {**who.env, native.VARIABLE: executor}


def name_of(pid: int) -> str:
    """What a process calls itself, "" if it is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().rstrip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def test_the_variable_chooses(who: Who, executor: str) -> None:
    """The process that supervises is the program that was chosen, with the id of the one that was started."""
    with start(who, "/bin/sleep", "60", env=chosen(who, executor)) as process:
        wait_until(lambda: name_of(child_of(process.pid)) == "sleep")
        assert (name_of(process.pid) == "sandrun-exec") == (executor == "native")
        process.terminate()
        assert process.wait(60) == 128 + signal.SIGTERM


def test_the_native_one_is_taken_where_it_is_there(who: Who) -> None:
    """Without the variable too."""
    need_native()
    env = {name: value for name, value in who.env.items() if name != native.VARIABLE}
    with start(who, "/bin/sleep", "60", env=env) as process:
        wait_until(lambda: name_of(child_of(process.pid)) == "sleep")
        assert name_of(process.pid) == "sandrun-exec"
        process.terminate()


def test_the_command_never_gets_the_variable(who: Who, executor: str) -> None:
    """Not even with every variable passed on."""
    done = sandrun("-q", *GRANTS, "--env", "@all", "--", "/usr/bin/env", who=who, env=chosen(who, executor), check=True)
    assert "HOME=" in done.stdout
    assert native.VARIABLE not in done.stdout


SAYING = """
import fcntl, os, sys
how, words, *argv = sys.argv[1:]
fd = os.memfd_create("said", os.MFD_ALLOW_SEALING)
os.write(fd, f"{os.getpid() + (how == 'of another process')}:{words}".encode())
seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
if how != "not sealed":
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
os.set_inheritable(fd, True)
os.environ["SANDRUN_EXECUTOR"] = f"python:{fd}"
os.execv(argv[0], argv)
"""


def saying(who: Who, said: str, *words: str | Path, how: str = "its own") -> subprocess.CompletedProcess[str]:
    """Run sandrun in a process that has left it these words of sandrun/native/__init__.py before."""
    return who.run([*python(who, SAYING), how, said, *who.sandrun, *words])


@pytest.mark.parametrize(
    "value",
    ["foo", "python:", "python:told:1", "python:again", "python:died:1:0", "python:after:0", "python:0", "native:0"],
)
def test_no_such_executor(who: Who, value: str) -> None:
    """What the variable says of a run that was is wrong usage, since it can come from anybody's environment."""
    done = sandrun("--", "true", who=who, env=chosen(who, value))
    assert done.returncode == 125
    assert done.stderr.startswith(f"sandrun: not an executor: {native.VARIABLE}={value}\n")


def test_only_a_process_itself_says_what_it_did(who: Who) -> None:
    """The control: what is believed runs nothing. Not believed are a file that others can write, and another process."""
    words = (*GRANTS, "--", "/bin/echo", "ran")
    done = saying(who, "after:7", "-q", *words)
    assert (done.returncode, done.stdout) == (7, ""), done.stderr
    for how in ("not sealed", "of another process"):
        done = saying(who, "after:7", "-q", *words, how=how)
        assert (done.returncode, done.stdout) == (125, "")
        assert done.stderr.startswith(f"sandrun: not an executor: {native.VARIABLE}=python:")


@pytest.mark.parametrize("said", ["died:1", "after:x", "died:a:b", "told"])
def test_words_that_say_nothing(who: Who, said: str) -> None:
    """Also from this process itself."""
    done = saying(who, said, "--", "true")
    assert done.returncode == 125
    assert done.stderr.startswith("sandrun: not an executor: ")


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (("-p", "none", "--read", "@all", "--", "/bin/true"), 126, "hint: no rule lets .* be executed: --execute "),
        ((*GRANTS, "--", "{box}/interpreter"), 126, "its interpreter /no/such: No such file or directory"),
        ((*GRANTS, "--", "{box}/garbage"), 126, "Exec format error"),
        ((*GRANTS, "--pass-fd", "77", "--", "/bin/true"), 125, "77"),
    ],
)
def test_failures_are_told_once(
    who: Who, executor: str, box: Path, words: tuple[str, ...], status: int, says: str
) -> None:
    """What cannot be launched has the same message and status from both, warnings stand there once, and the report has it."""
    for name, text in (("interpreter", "#!/no/such\n"), ("garbage", "\0\1\2")):
        (box / name).write_text(text)
        (box / name).chmod(0o755)
    command = [word.format(box=box) for word in words]
    done = sandrun("--report", str(box / "r"), *command, who=who, cwd=box, env=chosen(who, executor))
    assert done.returncode == status
    assert re.search(says, done.stderr), done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == len(set(lines)), lines
    record = json.loads((box / "r").read_text())
    assert (record["status"], record["started"], record["outcome"]) == (status, False, None)


def test_what_may_have_run_is_not_run_again(who: Who, executor: str, box: Path) -> None:
    """A filter kills execve: nobody can tell for sure that nothing ran, so it is tried once only."""
    need_landlock(6)  # for --isolate signals
    strace = need_program("strace")
    words = (*GRANTS, "--isolate", "signals", "--syscall-rule", "execve:0:ne:0:kill-process", "--", "/bin/true")
    trace = [strace, "-f", "-qq", "-e", "trace=execve", "-e", "signal=none", "-o", str(box / "trace")]
    done = who.run([*trace, *who.sandrun, *words], env=chosen(who, executor))
    assert done.returncode == 125
    assert done.stderr.startswith("sandrun: cannot execute /bin/true: the child ended before it, by SIGSYS\n")
    trials = [line for line in (box / "trace").read_text().splitlines() if not line.endswith(" = 0")]
    assert len(trials) == 1


@pytest.mark.parametrize("private", [(), ("--tmp", "private")])
def test_what_may_have_run_leaves_nothing(who: Who, executor: str, box: Path, private: tuple[str, ...]) -> None:
    """A command that runs, and that cannot be watched, ends with all that it has started and made."""
    need_landlock(6)
    strace = need_program("strace")
    fault = "inject=pidfd_open:error=ENFILE:when=2:delay_enter="
    trace = [strace, "-qq", "-e", "trace=pidfd_open,execve", "-o", str(box / "trace"), "-e"]
    script = 'setsid sleep 60 & mkdir "${TMPDIR:-.}/made"; echo ran; wait'
    words = ("-q", *GRANTS, "--isolate", "signals", *private, "--", "/bin/sh", "-c", script)
    before = descendants()
    env = {**chosen(who, executor), "TMPDIR": str(box)}
    for delay in (400_000, 4_000_000, 20_000_000):  # microseconds, in which the command gets so far
        done = who.run([*trace, f"{fault}{delay}", *who.sandrun, *words], env=env, cwd=box)
        assert "INJECTED" in (box / "trace").read_text()
        assert done.returncode == 125, done.stderr
        assert not left_since(before)
        assert not list(box.glob("sandrun-*"))
        if done.stdout:
            break
        shutil.rmtree(box / "made", ignore_errors=True)
    assert done.stdout == "ran\n", done.stderr


def test_another_plan_is_not_told_of(who: Who) -> None:
    """Warnings are left out only for the very plan whose warnings the native executor knows to be printed."""
    path = who.home / "program"
    path.write_text("#!/no/such\n")
    path.chmod(0o755)
    done = saying(who, "told:1", "-p", "none", "--read", "@all", "--execute", "@all", "--", path)
    assert done.returncode == 126
    assert done.stderr.startswith("sandrun: warning: ")


EVIL = """
mkdir -p sandrun/cli
for name in json re textwrap shlex difflib runpy __future__ prctl sandrun/__init__ sandrun/__main__ sandrun/cli/__init__; do
    echo "import os; os.write(2, b'imported')" >$name.py
done
exit 3
"""


def test_modules_are_not_those_of_the_command(who: Who, executor: str, box: Path) -> None:
    """`python -m` looks for modules in the working directory: not for those that are imported when the command has ended."""
    need(who.sandrun[1:] == ["-I", "-m", "sandrun"], "sandrun is not installed for this user")
    work, secret = box / "work", box / "secret"
    work.mkdir()
    secret.touch()
    who.own(work)
    words = ("-q", "-p", "none", "--execute", "/usr", "--read", "/etc", "--write", str(work))
    argv = [who.sandrun[0], "-m", "sandrun", *words[1:], "--", "/bin/sh", "-c", EVIL, "sh", str(secret)]
    with terminal(who, "/bin/sh", "-c", f'cd {work} && exec "$@"', "sh", *argv, env=chosen(who, executor)) as shown:
        shown.expect(pexpect.EOF)
    assert (work / "sandrun" / "__init__.py").exists(), shown.before
    assert "may not read" in shown.before, "nothing was explained, so nothing imported"
    assert "imported" not in shown.before
    assert shown.exitstatus == 3


def test_reports_are_alike(who: Who, box: Path) -> None:
    """Both executors write the same report, but for the times."""
    need_native()
    records = []
    for executor in EXECUTORS:
        name = box / executor
        words = ("--report", str(name), *GRANTS, "--", "/bin/sh", "-c", "sleep 60 & exit 3")
        assert sandrun(*words, who=who, cwd=box, env=chosen(who, executor)).returncode == 3
        assert name.stat().st_mode & 0o777 == 0o600
        record = json.loads(name.read_text())
        for time in ("wall", "user", "system"):
            assert isinstance(record["outcome"].pop(time), float)
        assert record["outcome"].pop("max_rss") > 0
        records.append((list(record), record))
    assert records[0] == records[1]
    assert records[0][1]["outcome"]["killed"] == 1


def test_exec_becomes_the_command(who: Who, executor: str) -> None:
    """The command has the id and the parent that sandrun had, and no process of sandrun is left."""
    need_landlock(1)
    code = "import os; print(os.getpid(), os.getppid(), *os.listdir('/proc/self/fd'))"
    words = [*who.sandrun, *ALONE, *python(who, code)]
    with who.popen(words, env=chosen(who, executor), stdout=subprocess.PIPE, text=True) as process:
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    pid, mother, *descriptors = map(int, out.split())
    assert (pid, mother) == (process.pid, os.getpid())
    assert descriptors == [0, 1, 2, 3]


def test_exec_is_confined(who: Who, executor: str) -> None:
    """What does not take a supervisor holds: Landlock, seccomp, no_new_privs, limits, the environment."""
    need_landlock(6)
    script = (
        "grep -E '^(NoNewPrivs|Seccomp|SigBlk|SigIgn):' /proc/self/status; ulimit -n; echo $SECRET; "
        "echo >/tmp/srtest-exec || echo refused; kill -0 $PPID || echo scoped"
    )
    words = ("-q", "-p", "none", "--read", "@all", "--execute", "@all", "--isolate", "signals", "--rlimit", "nofile=99")
    # A shell of the same user is the parent: without the scope it could be signalled.
    outer = ["/bin/sh", "-c", '"$@"; exit $?', "sh"]
    done = who.run(
        [*outer, *who.sandrun, *words, "--exec", "--", "/bin/sh", "-c", script],
        env={**chosen(who, executor), "SECRET": "x"},
        check=True,
    )
    assert done.stdout.split() == [
        *("SigBlk:", "0" * 16, "SigIgn:", "0" * 16, "NoNewPrivs:", "1", "Seccomp:", "2"),
        *("99", "refused", "scoped"),
    ]


def test_exec_ends_as_the_command_does(who: Who, executor: str) -> None:
    """By its status, and by its signal itself."""
    need_landlock(1)
    for script, status in (("exit 7", 7), ("kill -KILL $$", -signal.SIGKILL), ("kill -TERM $$", -signal.SIGTERM)):
        done = sandrun("-q", *ALONE, "/bin/sh", "-c", script, who=who, env=chosen(who, executor))
        assert done.returncode == status


def test_exec_leaves_what_the_command_started(who: Who, executor: str) -> None:
    """Nobody ends it: that is the price."""
    need_landlock(1)
    words = [*who.sandrun, "-q", *ALONE, "/bin/sh", "-c", "sleep 60 >/dev/null 2>&1 & echo $!"]
    done = who.run(words, env=chosen(who, executor), check=True)
    left = int(done.stdout)
    assert parent(left) > 0
    os.kill(left, signal.SIGKILL)


@pytest.mark.parametrize(
    ("file", "status", "says"),
    [
        ("interpreter", 126, "cannot execute {path}: .*No such file or directory"),
        ("garbage", 126, "cannot execute {path}: Exec format error"),
        ("removed", 127, "cannot execute: {path}: No such file or directory"),
    ],
)
def test_exec_that_fails(who: Who, executor: str, box: Path, file: str, status: int, says: str) -> None:
    """What cannot be executed is said, and has the status that it has with a supervisor."""
    need_landlock(1)
    path = box / file
    if file != "removed":
        path.write_text("#!/no/such\n" if file == "interpreter" else "\0\1\2")
        path.chmod(0o755)
    done = sandrun("-q", *ALONE, str(path), who=who, env=chosen(who, executor))
    assert done.returncode == status
    assert re.search("sandrun: " + says.format(path=path), done.stderr), done.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--timeout", "1s"), "a timeout (time.timeout)"),
        (("--tty", "new-session"), "another terminal (process.tty)"),
        (("--tty", "pty"), "another terminal (process.tty)"),
        (("--isolate", "true"), "a pid namespace (process.isolate, filesystem.proc)"),
        (("--namespace", "time"), "a time namespace (process.namespaces)"),
        (("--report", "r"), "--exec and --report do not go together"),
        (("--status-fd", "3"), "--exec and --status-fd do not go together"),
        (("--explain",), "--exec and --explain do not go together"),
        (("--locked",), "--exec and --locked do not go together"),
    ],
)
def test_exec_refuses_what_takes_a_supervisor(who: Who, executor: str, words: tuple[str, ...], says: str) -> None:
    """A promise that nobody would be there to keep: 125, and nothing runs."""
    if says.startswith("a "):
        need_namespaces(who)
    done = sandrun(
        "-q", *GRANTS, "--exec", *words, "--", "/bin/echo", "ran", who=who, env=chosen(who, executor), cwd=who.home
    )
    assert (done.returncode, done.stdout) == (125, "")
    assert says in done.stderr


def test_exec_explains_nothing(who: Who, executor: str, box: Path) -> None:
    """Not on a terminal either: what failed to become the command is confined like it, and no place for Python."""
    need_landlock(1)
    path = box / "garbage"
    path.write_text("\0\1\2")
    path.chmod(0o755)
    words = ("-p", "none", "--execute", str(path), "--isolate", "false", "--exec", "--", str(path), "/etc/passwd")
    with terminal(who, *who.sandrun, *words, env=chosen(who, executor)) as shown:
        shown.expect(pexpect.EOF)
    lines = shown.before.splitlines()
    assert [line for line in lines if "cannot" in line] == [line for line in lines if str(path) in line], lines
    assert "python" not in shown.before
    assert shown.exitstatus == 126
