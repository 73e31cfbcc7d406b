"""The supervisor's own promises: the status, the times, the timeout, what it needs of its caller, what it leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sandrun.primitives import seccomp
from tests.integration.supervised import (
    KILLS,
    at_rest,
    child_of,
    gone,
    python,
    refusing,
    reported,
    soon_enough,
    start,
    terminal,
    wait_until,
    waits,
    words,
)
from tests.support import need_landlock

if TYPE_CHECKING:
    from tests.support import Who

BOTH_KILLS = pytest.mark.parametrize("kill", KILLS)


def shell(who: Who, script: str, *options: str, kill: str = "scoped") -> int:
    """The exit status of a script under sandrun."""
    return who.run([*words(who, *options, kill=kill), "/bin/sh", "-c", script]).returncode


@pytest.mark.parametrize(
    ("script", "status"), [("exit 0", 0), ("exit 7", 7), ("exit 125", 125), ("kill -9 $$", 137), ("kill -SEGV $$", 139)]
)
def test_status(who: Who, script: str, status: int) -> None:
    """The command's own status, or 128 + the signal."""
    assert shell(who, script) == status


def test_outcome(who: Who) -> None:
    """The report tells how long, how much processor time of the whole tree, and the peak memory of a process."""
    code = "b = bytearray(64 << 20); import os, time; os.fork() or os._exit([0 for _ in iter(int, 1) if time.process_time() > 0.3 and os._exit(0)]); os.wait(); time.sleep(0.2)"
    status, outcome = reported(who, *python(who, code))
    assert (status, outcome["how"], outcome["status"], outcome["signal"]) == (0, "exit", 0, 0)
    assert 0.5 <= outcome["wall"] < 60
    assert 0.3 <= outcome["user"] + outcome["system"] < 20
    assert 64 << 20 <= outcome["max_rss"] < 512 << 20


@pytest.mark.parametrize("late", [False, True], ids=["end", "timeout"])
@BOTH_KILLS
def test_times_of_what_nobody_waits_for(who: Who, kill: str, late: bool) -> None:
    """The processor time of what the end finds alive is counted, although a pid namespace's init waits for nobody."""
    code = f"""
import os, time
reader, writer = os.pipe()
if not os.fork():
    os.fork() and os._exit(0)
    while time.process_time() < 0.15: pass
    os.write(writer, b'.')
    time.sleep(60)
os.wait()
os.read(reader, 1)
time.sleep({60 if late else 0})
"""

    def attempt(timeout: str) -> bool:
        options = ("--timeout", timeout) if late else ()
        _, outcome = reported(who, *python(who, code), options=options, kill=kill)
        assert outcome["how"] == ("timeout" if late else "exit")
        return 0.13 <= outcome["user"] + outcome["system"] < 20  # a clock tick is 10 ms

    if late:
        soon_enough(attempt)
    else:
        assert attempt("")


def test_outcome_of_a_signal(who: Who) -> None:
    """A command that died of a signal is reported so, not as an exit."""
    status, outcome = reported(who, "/bin/sh", "-c", "kill -TERM $$")
    assert (status, outcome["how"], outcome["signal"]) == (143, "signal", signal.SIGTERM)


@pytest.mark.parametrize("on_terminal", [False, True], ids=["no-terminal", "terminal"])
@BOTH_KILLS
def test_a_stop_for_a_tracer_is_no_end(who: Who, kill: str, on_terminal: bool) -> None:
    """A command that makes us its tracer is killed and counts so; its stop is not taken for an exit with status 0."""
    code = "import ctypes, os, signal; ctypes.CDLL(None).ptrace(0, 0, 0, 0); os.kill(os.getpid(), signal.SIGSTOP)"
    argv = [*words(who, "--report", str(who.home / "report.json"), kill=kill), *python(who, code)]
    if on_terminal:
        with terminal(who, *argv) as box:
            box.wait()
            status = box.exitstatus
    else:
        status = who.run(argv).returncode
    outcome = json.loads((who.home / "report.json").read_text())["outcome"]
    assert (status, outcome["how"], outcome["signal"]) == (137, "signal", signal.SIGKILL)


@BOTH_KILLS
def test_files_move_between_directories(who: Who, kill: str) -> None:
    """The domain that the supervisor makes for signals does not keep rename(2) and link(2) within one directory."""
    options = ("-p", "none", "-x", "@system", "-w", str(who.tmp), *KILLS[kill])
    script = "mkdir a b && touch a/x && ln a/x b/y && ln b/y a/z"
    if kill == "scoped":
        need_landlock(6)
    done = who.run([*who.sandrun, *options, "--", "/bin/sh", "-c", f"{script} && rm -r a b"], cwd=who.tmp)
    assert done.returncode == 0, done.stderr


# --- timeout ---------------------------------------------------------------------------------------------------------


@BOTH_KILLS
def test_timeout_of_one_that_ignores_term(who: Who, kill: str) -> None:
    """TERM, the grace, then KILL for the whole tree: 124."""

    def attempt(timeout: str) -> bool:
        options = ("--timeout", timeout, "--grace", "300ms")
        began = time.monotonic()
        assert shell(who, "trap '' TERM; touch deaf; sleep 300 & sleep 300; sleep 300", *options, kill=kill) == 124
        return time.monotonic() - began >= 0.8 and (who.home / "deaf").exists()

    soon_enough(attempt)


@pytest.mark.parametrize("mode", ["protected", "new-session", "pty"])
def test_timeout_on_a_terminal_whose_output_is_stopped(who: Who, mode: str) -> None:
    """tcflow(3) by the command does not hold the supervisor, which has a message to write there."""
    code = "import termios, time; termios.tcflow(1, termios.TCOOFF); time.sleep(60)"
    with terminal(who, *words(who, "--timeout", "500ms", "--tty", mode), *python(who, code)) as box:
        box.expect_exact("ended by the timeout")
        box.wait()
    assert box.exitstatus == 124


def last_words(who: Who, script: str, kill: str) -> str:
    """What a command that the timeout ends wrote to `out`, given so much time that it had come so far."""
    out = who.home / "out"

    def attempt(timeout: str) -> bool:
        assert shell(who, script, "--timeout", timeout, "--grace", "30s", kill=kill) == 124
        return out.exists()

    soon_enough(attempt)
    return out.read_text()


@BOTH_KILLS
def test_timeout_asks_first(who: Who, kill: str) -> None:
    """Every process of the tree gets TERM and may tidy up; a command that then exits 0 still ran out of time."""
    script = (
        "(trap 'echo child >>out; exit' TERM; touch up; while :; do sleep 0.05; done) & trap 'wait; exit 0' TERM; wait"
    )
    assert last_words(who, script, kill) == "child\n"


@BOTH_KILLS
def test_timeout_of_a_stopped_command(who: Who, kill: str) -> None:
    """A stopped process cannot act on TERM, so CONT follows."""
    script = "trap 'echo bye >out; exit' TERM; kill -STOP $$; sleep 30"
    assert last_words(who, script, kill) == "bye\n"


def test_timeout_is_not_reached(who: Who) -> None:
    """In time is in time."""
    assert shell(who, "exit 3", "--timeout", "1h") == 3


def test_no_grace(who: Who) -> None:
    """A grace of nothing is KILL at once."""
    report = who.home / "report.json"
    options = ("--timeout", "100ms", "--grace", "0", "--report", str(report))
    assert shell(who, "trap '' TERM; sleep 30; sleep 30", *options) == 124
    assert json.loads(report.read_text())["outcome"]["wall"] < 2, "that is the grace if none is named"


def test_a_timeout_longer_than_a_timer_can_be(who: Who) -> None:
    """A hundred days are more milliseconds than poll(2) takes."""
    assert shell(who, "exit 3", "--timeout", "100d") == 3


# --- what it leaves and what it needs --------------------------------------------------------------------------------


def test_idle(who: Who) -> None:
    """While nothing happens the supervisor does not wake up."""
    with start(who, "/bin/sleep", "60") as process:
        child_of(process.pid)
        at_rest(process.pid)
        before = waits(process.pid)
        time.sleep(1)
        assert waits(process.pid) == before
        process.terminate()


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)])
def test_closed_standard_descriptors(who: Who, closed: tuple[int, ...]) -> None:
    """What the caller closed is a device for the command, not the next file that anyone opened."""

    def close() -> None:
        for fd in closed:
            os.close(fd)

    code = "import os; open('out', 'w').write(' '.join(os.readlink(f'/proc/self/fd/{fd}') for fd in range(3))); os._exit(5)"
    null = subprocess.DEVNULL
    done = who.run([*words(who), *python(who, code)], preexec_fn=close, stdin=null, stdout=null, stderr=null)
    assert done.returncode == 5
    links = (who.home / "out").read_text().split()
    assert all(links[fd] in ("/dev/null", "/dev/full") for fd in range(3)), links


def test_supervisor_is_not_dumpable(who: Who) -> None:
    """Its /proc files belong to root: no process of the same user can trace it or read its memory (proc(5))."""
    with start(who, "/bin/sleep", "60") as process:
        child_of(process.pid)
        assert Path(f"/proc/{process.pid}/environ").stat().st_uid == 0
        if not who.is_root:
            done = who.run(["/bin/cat", f"/proc/{process.pid}/environ"])
            assert "Permission denied" in done.stderr
        process.terminate()


def test_supervisor_killed(who: Who) -> None:
    """The kernel ends the command with its supervisor."""
    with start(who, "/bin/sleep", "60") as process:
        command = child_of(process.pid)
        process.kill()
        wait_until(lambda: gone(command))


def test_private_directory_is_removed(who: Who) -> None:
    """The private directory goes with all that the command put in, however it tried to keep it."""
    script = "echo $TMPDIR; mkdir -p $TMPDIR/a/b; ln -s / $TMPDIR/a/root; chmod 0 $TMPDIR/a/b $TMPDIR/a $TMPDIR"
    grants = ("-p", "none", "--read", "@all", "--execute", "@all", "--tmp", "private")
    # A directory of its own is made where /tmp cannot be replaced: here because no namespace can be made.
    words = [*who.sandrun, *grants, "--", "/bin/sh", "-c", script]
    done = who.run(words, check=True, preexec_fn=refusing(seccomp.errno_action(1), "unshare"))
    path = Path(done.stdout.strip())
    assert path.name.startswith("sandrun-")
    assert not path.exists()
    assert list(who.tmp.iterdir()) == []


def test_the_other_end_of_a_pipe(who: Who) -> None:
    """A reader sees the end when the command closes its output or a passed descriptor, not when we end."""
    reader, writer = os.pipe()
    code = f"import os, time; os.close(1); os.close({writer}); time.sleep(60)"
    with start(
        who, *python(who, code), options=("--pass-fd", str(writer)), stderr=subprocess.DEVNULL, pass_fds=(writer,)
    ) as p:
        os.close(writer)
        assert p.stdout.read() == ""
        assert os.read(reader, 1) == b""
        assert p.poll() is None
        p.terminate()
    os.close(reader)


def test_inside_another(who: Who) -> None:
    """sandrun runs under sandrun."""
    done = who.run([*words(who), *words(who), "/bin/sh", "-c", "echo in; setsid sleep 60 & exit 9"])
    assert (done.returncode, done.stdout) == (9, "in\n")


def test_output_of_children_after_the_end(who: Who) -> None:
    """Nobody waits for a left-over process that holds the output open."""
    done = who.run([*words(who), "/bin/sh", "-c", "echo out; sleep 300 & exit 0"], check=True)
    assert done.stdout == "out\n"
