"""Job control in an interactive shell: sandrun is to be stopped, continued and interrupted like any program."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pexpect
import pytest

from tests.integration import supervised
from tests.integration.supervised import (
    child_of,
    command_line,
    gone,
    parent,
    python,
    seen_here,
    shell,
    sleeping,
    state,
    wait_until,
)
from tests.support import need_program

if TYPE_CHECKING:
    from tests.support import Who

WAYS = pytest.mark.parametrize("tty", ["protected", "pty"])

LISTENER = """
import os, signal, time
def say(number, _):
    os.write(1, b"<%d>" % number)
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCONT, signal.SIGWINCH, signal.SIGHUP):
    signal.signal(number, say)
os.write(1, b"pid=%d." % os.getpid())
while True:
    try:
        if not os.read(0, 100).startswith(b"more"):
            break
        os.write(1, b"again.")
    except InterruptedError:
        pass
os.write(1, b"done.")
"""


@pytest.fixture(params=(supervised.KILL, "namespace"), autouse=True)
def _in_both(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test is run without namespaces and with a pid namespace: outside all must be the same."""
    monkeypatch.setattr(supervised, "KILL", request.param)


def run(bash: Any, who: Who, tty: str, code: str = LISTENER, end: str = "") -> int:
    """Type a command that runs Python code under sandrun; the pid of the command."""
    script = who.home / "listener.py"
    script.write_text(code)
    words = " ".join(python(who, "")[:-2])
    bash.sendline(f"{command_line(who, '--tty', tty)} {words} {script} {end}")
    bash.expect(r"pid=(\d+)\.")
    return seen_here(int(bash.match.group(1)))


@WAYS
def test_interrupt_arrives_once(who: Who, tty: str) -> None:
    """Ctrl-C reaches the command one time, and what it does about it is its own affair."""
    with shell(who) as bash:
        run(bash, who, tty)
        bash.send("\x03")
        bash.expect("<2>")
        bash.sendline("")
        bash.expect("done.")
        assert "<2>" not in bash.before
        bash.expect("READY> ")
        bash.sendline("echo status=$?")
        bash.expect("status=0")


@WAYS
def test_interrupt_ends_an_ordinary_command(who: Who, tty: str) -> None:
    """Ctrl-C ends a command that does not handle it: 130, and the shell goes on."""
    with shell(who) as bash:
        bash.sendline(f"{command_line(who, '--tty', tty)} /bin/sh -c 'echo pid=$$.; exec sleep 60'")
        bash.expect(r"pid=(\d+)\.")
        sleeping(seen_here(int(bash.match.group(1))))
        bash.send("\x03")
        bash.expect("READY> ")
        bash.sendline("echo status=$?")
        bash.expect("status=130")


@WAYS
def test_stop_and_foreground(who: Who, tty: str) -> None:
    """Ctrl-Z stops the command and shows the job as stopped, `fg` continues it once, with the keyboard back."""
    with shell(who) as bash:
        pid = run(bash, who, tty)
        for _ in range(2):
            bash.send("\x1a")
            bash.expect("Stopped")
            bash.expect("READY> ")
            wait_until(lambda: state(pid) == "T")
            bash.sendline("fg")
            bash.expect("<18>")
            bash.sendline("more")
            bash.expect("again.")
            assert "<18>" not in bash.before
        bash.sendline("")
        bash.expect("done.")
        bash.expect("READY> ")


@WAYS
def test_background(who: Who, tty: str) -> None:
    """`bg` lets a stopped command run on until it wants the keyboard, which stops it again; `fg` gives it."""
    with shell(who) as bash:
        pid = run(bash, who, tty)
        job = pid
        while (above := parent(job)) != bash.pid:
            job = above
        bash.send("\x1a")
        bash.expect("Stopped")
        bash.expect("READY> ")
        bash.sendline("bg")
        bash.expect("<18>")
        wait_until(lambda: state(pid) == state(job) == "T")
        # The shell has to know that the job is stopped again: it looks when it waits for something.
        bash.sendline("/bin/true; echo sh''ell")
        bash.expect("shell")
        bash.expect("READY> ")
        bash.sendline("fg")
        bash.expect("<18>")
        bash.sendline("more")
        bash.expect("again.")
        bash.sendline("")
        bash.expect("done.")
        bash.expect("READY> ")
        assert gone(pid)


@WAYS
def test_kill_a_job(who: Who, tty: str) -> None:
    """`kill %1` ends a job that was stopped, and nothing is left of it."""
    with shell(who) as bash:
        # In the background, since dash starts what it waits for by vfork(2): if its child is stopped before it has
        # executed the program, dash itself waits in the kernel and cannot be stopped.
        bash.sendline(f"{command_line(who, '--tty', tty)} /bin/sh -c 'sleep 60 & echo pid=$$.; wait'")
        bash.expect(r"pid=(\d+)\.")
        pid = seen_here(int(bash.match.group(1)))
        bash.send("\x1a")
        bash.expect("Stopped")
        bash.expect("READY> ")
        bash.sendline("kill %1")
        wait_until(lambda: gone(pid))
        for _ in range(60):
            # The shell tells of it at the first prompt after sandrun itself is gone. Under load bash can miss that
            # SIGCHLD, and only looks again when it waits for something.
            bash.sendline("/bin/true")
            if bash.expect(["Exit 143", pexpect.TIMEOUT], timeout=1) == 0:
                break
        else:
            pytest.fail("the shell did not tell that the job ended")


@WAYS
def test_the_command_stops_itself(who: Who, tty: str) -> None:
    """A command that stops itself by SIGSTOP, which nobody can catch, is a stopped job too."""
    with shell(who) as bash:
        bash.sendline(f"{command_line(who, '--tty', tty)} /bin/sh -c 'kill -STOP $$; echo back.'")
        bash.expect("Stopped")
        bash.expect("READY> ")
        bash.sendline("fg")
        bash.expect("back.")
        bash.expect("READY> ")


@WAYS
def test_pipeline(who: Who, tty: str) -> None:
    """In a pipeline all parts are one job: Ctrl-Z stops them, `fg` continues them, and the data comes through."""
    fifo = who.home / "fifo"
    os.mkfifo(fifo)
    who.own(fifo)
    with shell(who) as bash:
        words = f"{command_line(who, '--tty', tty)} /bin/sh -c 'echo one; read x <{fifo}; echo two' | cat"
        bash.sendline(words)
        bash.expect("one")
        bash.send("\x1a")
        bash.expect("Stopped")
        bash.expect("READY> ")
        bash.sendline("fg")
        fifo.write_text("go\n")
        bash.expect("two")
        bash.expect("READY> ")


def test_the_other_end_of_a_pipeline_has_the_keyboard(who: Who) -> None:
    """`sandrun --tty pty ... | less`: keys go to the program that reads the terminal, as the command does not."""
    with shell(who) as bash:
        bash.sendline(
            f"{command_line(who, '--tty', 'pty')} /bin/sh -c 'echo data; sleep 3' | (cat; read x </dev/tty; echo got=$x)"
        )
        bash.expect("data")
        bash.sendline("key")
        bash.expect("got=key")


def test_an_upstream_command_may_ask_for_the_keyboard(who: Who) -> None:
    """`sandrun --tty pty ssh ... > file`: the command that reads its terminal gets the keys then."""
    with shell(who) as bash:
        bash.sendline(f"{command_line(who, '--tty', 'pty')} /bin/sh -c 'echo ask. >&2; read x; echo got=$x >&2' | cat")
        bash.expect("ask.")
        bash.sendline("key")
        bash.expect("got=key")
        bash.expect("READY> ")


@WAYS
def test_job_control_inside(who: Who, tty: str) -> None:
    """An interactive shell inside has its own jobs, and the outer one gets its terminal back afterwards."""
    need_program("bash")
    with shell(who) as bash:
        bash.sendline(
            f"PS1='INNER''> ' {command_line(who, '--env', 'PS1', '--tty', tty)} /bin/bash --norc --noprofile -i"
        )
        bash.expect("INNER> ")
        bash.sendline("sh -c 'echo as''leep; exec sleep 60'")
        bash.expect("asleep")
        bash.send("\x1a")
        bash.expect("Stopped")
        bash.expect("INNER> ")
        bash.sendline("kill -9 %1; exit 5; exit 5")
        bash.expect("READY> ")
        bash.sendline("echo status=$?")
        bash.expect("status=5")


@WAYS
def test_stopping_is_no_way_around_the_timeout(who: Who, tty: str) -> None:
    """A command that stops itself takes its supervisor along; the timeout comes all the same."""
    with shell(who) as bash:
        options = ("--tty", tty, "--timeout", "5s", "--grace", "200ms")
        bash.sendline(f"{command_line(who, *options)} /bin/sh -c 'echo pid=$$.; kill -STOP $$; sleep 60'")
        bash.expect(r"pid=(\d+)\.")
        pid = seen_here(int(bash.match.group(1)))
        bash.expect("Stopped")
        wait_until(lambda: gone(pid))
        bash.sendline("fg; echo status=$?")
        bash.expect("status=")


def test_a_script_has_the_terminal_again(who: Who) -> None:
    """A command that took the foreground and died leaves the rest of a script able to read the terminal."""
    code = "import os, signal; signal.signal(signal.SIGTTOU, signal.SIG_IGN); os.setpgid(0, 0); os.tcsetpgrp(0, os.getpid())"
    (who.home / "thief.py").write_text(code)
    (who.home / "script").write_text(
        f"{command_line(who)} {' '.join(python(who, '')[:-2])} {who.home}/thief.py\necho ask.; read x; echo got=$x\n"
    )
    with shell(who) as bash:
        bash.sendline(f"sh {who.home}/script")
        bash.expect("ask.")
        bash.sendline("key")
        bash.expect("got=key")


def test_terminal_hangs_up(who: Who) -> None:
    """When the terminal goes away, so does the command."""
    with shell(who) as bash:
        pid = run(bash, who, "protected", LISTENER.replace("signal.SIGHUP", ""))
        supervisor = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        assert child_of(supervisor) == pid
        bash.ptyproc.fileobj.close()
        wait_until(lambda: gone(pid) and gone(supervisor))


def test_foreground_group(who: Who) -> None:
    """With a terminal the command is in the group that the shell made for the job."""
    with shell(who) as bash:
        pid = run(bash, who, "protected")
        assert os.getpgid(pid) == os.getpgid(int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]))
        bash.sendline("")
        bash.expect("READY> ")
