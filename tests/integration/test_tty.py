"""A terminal of the command's own: what passes through the proxy, and what the caller's terminal looks like after."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pexpect
import pytest

from tests.integration.supervised import (
    at_rest,
    child_of,
    command_line,
    gone,
    parent,
    python,
    shell,
    sleeping,
    terminal,
    wait_until,
    waits,
    words,
)

if TYPE_CHECKING:
    from tests.support import Who

PTY = ("--tty", "pty")


def on_terminal(who: Who, *command: str, options: tuple[str, ...] = PTY) -> Any:
    """sandrun on a terminal of the test's."""
    return terminal(who, *words(who, *options), *command)


def whole(box: Any) -> str:
    """All output up to the end, with plain line ends, and the terminal closed."""
    text: str = box.read()
    box.wait()
    return text.replace("\r\n", "\n")


def test_it_is_another_terminal(who: Who) -> None:
    """The command's terminal is not the caller's: descriptors 0 to 2 and /dev/tty are the new one."""
    script = "tty; tty <&1; tty <&2; tty </dev/tty; test $(ps -o tty= -p $$) != $(ps -o tty= -p $PPID) || echo same"
    with on_terminal(who, "/bin/sh", "-c", script) as box:
        mine = os.ttyname(box.child_fd)
        names = whole(box).split()
    assert names[:3] == [names[0]] * 3
    assert names[0].startswith("/dev/pts/")
    assert names[0] != mine
    assert names[3] == "/dev/tty"


@pytest.mark.parametrize(("script", "status"), [("exit 7", 7), ("kill -9 $$", 137), ("exit 0", 0)])
def test_status(who: Who, script: str, status: int) -> None:
    """The status comes through the proxy."""
    with on_terminal(who, "/bin/sh", "-c", script) as box:
        box.read()
        assert box.wait() == status


def test_all_output_is_delivered(who: Who) -> None:
    """Much output, to the last byte, before the status is reported, and to a reader that is slow at first."""
    with on_terminal(who, "/bin/sh", "-c", "seq 1 60000; echo end") as box:
        time.sleep(0.5)
        lines = whole(box).split()
    assert lines == [*map(str, range(1, 60001)), "end"]


def test_all_input_is_delivered(who: Who) -> None:
    """More than any buffer holds, to a command that reads slowly."""
    code = "import sys, time, tty; tty.setraw(0); print('ready', flush=True); time.sleep(0.5)\nn = 0\nwhile n < 300000:\n    n += len(sys.stdin.buffer.read1(1000))\nprint('got', n, flush=True)"
    with on_terminal(who, *python(who, code)) as box:
        box.expect("ready")
        box.delaybeforesend = None
        for _ in range(300):
            box.send("x" * 1000)
        box.expect("got 300000")


def test_keys_and_end_of_input(who: Who) -> None:
    """A line typed is read, is echoed once, and Ctrl-D is the end."""
    with on_terminal(who, "/bin/sh", "-c", "echo ready; cat; echo over") as box:
        box.expect("ready")
        box.sendline("typed")
        box.expect("typed\r\ntyped\r\n")
        box.sendeof()
        box.expect("over")
        box.read()
        assert box.wait() == 0


def test_size(who: Who) -> None:
    """The size is the caller's, and follows it."""
    code = """
import os, signal
def say(*_):
    os.write(1, b"%d %d." % os.get_terminal_size())
signal.signal(signal.SIGWINCH, say)
say()
while True:
    signal.pause()
"""
    with terminal(who, *words(who, *PTY), *python(who, code), dimensions=(11, 77)) as box:
        box.expect("77 11")
        box.setwinsize(22, 99)
        box.expect("99 22")


@pytest.mark.parametrize("tty", ["pty", "protected"])
def test_settings_are_put_back(who: Who, tty: str) -> None:
    """After the command, the caller's terminal has the settings it had; with a pty, whatever the command did."""
    inside = "stty raw -echo" if tty == "pty" else "true"
    with shell(who) as bash:
        bash.sendline(
            f"before=$(stty -g); {command_line(who, '--tty', tty)} /bin/sh -c '{inside}; exit 3'; echo status=$?"
        )
        bash.expect("status=3")
        bash.sendline("test $before = $(stty -g) && echo un''changed")
        bash.expect("unchanged")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_signals_come_through(who: Who, number: int) -> None:
    """A signal to the process that the caller started reaches the command, once, and the settings are put back."""
    script = f"trap 'echo got-it' {signal.Signals(number).name[3:]}; echo pid=$$.; while :; do read x && exit 4; done"
    with shell(who) as bash:
        bash.sendline(f"before=$(stty -g); {command_line(who, *PTY)} /bin/sh -c '{script.replace(chr(39), chr(34))}'")
        bash.expect(r"pid=(\d+)\.")
        proxy = parent(parent(int(bash.match.group(1))))
        assert proxy > 1
        os.kill(proxy, number)
        bash.expect("got-it")
        bash.sendline("")
        bash.expect("READY> ")
        assert "got-it" not in bash.before
        bash.sendline("test $before = $(stty -g) && echo un''changed")
        bash.expect("unchanged")


def test_supervisor_killed(who: Who) -> None:
    """If the supervisor is killed, its proxy ends the tree, puts the settings back and says 137."""
    with shell(who) as bash:
        script = "echo pid=$$.; setsid sleep 60 & sleep 60"
        bash.sendline(f"before=$(stty -g); {command_line(who, *PTY)} /bin/sh -c '{script}'; echo status=$?")
        bash.expect(r"pid=(\d+)\.")
        command = int(bash.match.group(1))
        supervisor = parent(command)
        assert supervisor > 1
        os.kill(supervisor, signal.SIGKILL)
        bash.expect("status=137")
        assert gone(command)
        bash.sendline("test $before = $(stty -g) && echo un''changed")
        bash.expect("unchanged")


def test_proxy_killed(who: Who) -> None:
    """If the proxy is killed, the supervisor and the command go with it."""
    with on_terminal(who, "/bin/sh", "-c", "echo pid=$$.; sleep 60") as box:
        box.expect(r"pid=(\d+)\.")
        command = int(box.match.group(1))
        supervisor = parent(command)
        proxy = parent(supervisor)
        assert proxy > 1
        os.kill(proxy, signal.SIGKILL)
        wait_until(lambda: gone(command) and gone(supervisor))


def test_timeout(who: Who) -> None:
    """124 comes through as well."""
    with on_terminal(who, "/bin/sleep", "60", options=(*PTY, "--timeout", "300ms")) as box:
        box.expect(pexpect.EOF)
        assert box.wait() == 124


# --- descriptors that are no terminal --------------------------------------------------------------------------------


def test_input_from_a_pipe(who: Who) -> None:
    """Only what was a terminal is replaced: input from a pipe ends where the pipe ends."""
    with shell(who) as bash:
        bash.sendline(
            f"printf 'a\\nb\\n' | {command_line(who, *PTY)} /bin/sh -c 'cat; test -t 0 || test -t 1 && echo t''ty'"
        )
        bash.expect("a\r\nb\r\ntty")


def test_output_to_a_pipe(who: Who) -> None:
    """Output to a pipe does not go through the terminal: no carriage returns, and the reader sees its end."""
    with shell(who) as bash:
        bash.sendline(f"{command_line(who, *PTY)} /bin/sh -c 'seq 1 50000' | md5sum; seq 1 50000 | md5sum")
        bash.expect("([0-9a-f]{32})")
        first = bash.match.group(1)
        bash.expect("([0-9a-f]{32})")
        assert bash.match.group(1) == first


def test_output_closed_early(who: Who) -> None:
    """The proxy holds no copy of a pipe: its reader sees the end when the command closes it, not when we end."""
    with shell(who) as bash:
        bash.sendline(
            f"{command_line(who, *PTY)} /bin/sh -c 'echo pid=$$. >&2; exec sleep 60 >&-' | (cat; sleep 0.5; echo end''ed)"
        )
        bash.expect(r"pid=(\d+)\.")
        sleeping(int(bash.match.group(1)))
        bash.expect("ended")
        bash.send("\x03")
        bash.expect("READY> ")


@pytest.mark.parametrize("tty", ["pty", "new-session"])
def test_without_a_terminal(who: Who, tty: str) -> None:
    """With no terminal to protect, the command has a session of its own and no controlling terminal."""
    script = "test -t 0 || test -t 1 || echo none; (: </dev/tty) 2>/dev/null || echo none; ps -o sid= -p $$ | grep -qw $$ && exit 6"
    done = who.run([*words(who, "--tty", tty), "/bin/sh", "-c", script], stderr=subprocess.DEVNULL)
    assert (done.returncode, done.stdout) == (6, "none\nnone\n")


def test_new_session_on_a_terminal(who: Who) -> None:
    """The command may write to the terminal but it is not its controlling one; Ctrl-C still ends it."""
    script = "(: </dev/tty) 2>/dev/null || echo cut; exec sleep 60"
    with on_terminal(who, "/bin/sh", "-c", script, options=("--tty", "new-session")) as box:
        box.expect("cut")
        sleeping(child_of(box.pid))
        box.sendintr()
        box.expect(pexpect.EOF)
        assert box.wait() == 130


def test_nothing_spins(who: Who) -> None:
    """While nobody types and nothing is printed, the proxy and the supervisor sleep."""
    with on_terminal(who, "/bin/sh", "-c", "echo pid=$$.; exec sleep 60") as box:
        box.expect(r"pid=(\d+)\.")
        supervisor = parent(int(box.match.group(1)))
        pids = (supervisor, parent(supervisor))

        at_rest(*pids)
        before = [waits(pid) for pid in pids]
        time.sleep(1)
        assert [waits(pid) for pid in pids] == before
        assert child_of(supervisor)
