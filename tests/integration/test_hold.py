"""`--hold`: all that confines a command is in force before its first instruction, and it waits there."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.integration.supervised import gone, wait_until
from tests.support import sandrun

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support import Who

    Start = Callable[..., "Held"]

SECONDS = 60
EXECUTORS = ("", "python")
OPEN = ("-p", "none", "--read", "@all", "--execute", "@all")


class Held:
    """A launch that waits: `ready` is where it says so, `go` the full pipe that it waits at."""

    def __init__(self, who: Who, executor: str, output: Path, words: tuple[str, ...]) -> None:
        self.ready, ready = os.pipe()
        self.go, go = os.pipe()
        self.output = output
        fcntl.fcntl(go, fcntl.F_SETPIPE_SZ, 4096)
        os.set_blocking(go, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(go, bytes(4096))
        os.set_blocking(go, True)
        env = who.env | ({"SANDRUN_EXECUTOR": executor} if executor else {})
        argv = [*who.sandrun, "--hold", f"{ready}:{go}", *words]
        with output.open("wb") as out:
            self.process = who.popen(
                argv, env=env, pass_fds=(ready, go), stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )
        os.close(ready)
        os.close(go)

    def is_ready(self) -> bool:
        assert select.select([self.ready], [], [], SECONDS)[0]
        return os.read(self.ready, 1) == b"\n"

    def close(self) -> None:
        for fd in (self.ready, self.go):
            with contextlib.suppress(OSError):
                os.close(fd)
        self.process.wait(SECONDS)


@pytest.fixture
def start(who: Who, tmp_path: Path) -> Iterator[Start]:
    """Starts a launch that waits, which ends with the test."""
    held: list[Held] = []

    def begin(*words: str, executor: str) -> Held:
        held.append(Held(who, executor, tmp_path / "out", words))
        return held[-1]

    yield begin
    for one in held:
        one.close()


def status_of(pid: int) -> dict[str, str]:
    with open(f"/proc/{pid}/status") as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file)


def last_child(pid: int) -> int:
    """The process at the end of the chain of first children below this one."""
    while True:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            children = file.read().split()
        if not children:
            return pid
        pid = int(children[-1])


@pytest.mark.parametrize("executor", EXECUTORS)
def test_it_waits_confined(start: Start, executor: str) -> None:
    """Before it is let go the process of the command has its filters, and has not executed anything."""
    held = start("-p", "strict", "--isolate", "false", "--", "/bin/echo", "ran", executor=executor)
    assert held.is_ready()
    pid = last_child(held.process.pid)
    assert int(status_of(pid)["Seccomp_filters"]) >= 1
    assert status_of(pid)["NoNewPrivs"] == "1"
    assert "echo" not in status_of(pid)["Name"]
    assert held.process.poll() is None
    assert held.output.read_text() == ""
    os.read(held.go, 1 << 20)
    assert held.process.wait(SECONDS) == 0
    assert held.output.read_text() == "ran\n"


@pytest.mark.parametrize("executor", EXECUTORS)
def test_the_command_has_neither_descriptor(start: Start, executor: str) -> None:
    """What the command inherits is what it would inherit without --hold."""
    held = start(
        *OPEN,
        "--",
        "/bin/sh",
        "-c",
        "exec 2>&-; for fd in 3 4 5 6 7 8 9; do (true >&$fd) && echo $fd; done; echo end",
        executor=executor,
    )
    assert held.is_ready()
    os.read(held.go, 1 << 20)
    assert held.process.wait(SECONDS) == 0
    assert held.output.read_text() == "end\n"


@pytest.mark.parametrize("executor", EXECUTORS)
def test_nobody_lets_it_go(start: Start, executor: str) -> None:
    """Once the other end of GO is closed, the command never runs."""
    held = start(*OPEN, "--", "/bin/echo", "ran", executor=executor)
    assert held.is_ready()
    os.close(held.go)
    assert held.process.wait(SECONDS) == 125
    assert held.output.read_text() == "sandrun: cannot execute /bin/echo: nobody let it go (--hold)\n"


@pytest.mark.parametrize("executor", EXECUTORS)
def test_its_caller_is_gone(who: Who, executor: str) -> None:
    """A launch that was held ends with the process that started it, and with it all that its command started."""
    script = """
import fcntl, os, subprocess, sys
ready, told = os.pipe()
go, full = os.pipe()
fcntl.fcntl(full, fcntl.F_SETPIPE_SZ, 4096)
os.write(full, bytes(fcntl.fcntl(full, fcntl.F_GETPIPE_SZ)))
subprocess.Popen([*sys.argv[1:]][:-5] + ["--hold", f"{told}:{full}"] + sys.argv[-5:], pass_fds=(told, full))
os.read(ready, 1)
os.read(go, 1 << 20)
sys.stdin.read()
"""
    file = who.home / "caller.py"
    file.write_text(script)
    who.own(file)
    words = [*who.sandrun, *OPEN, "--", "/bin/sh", "-c", "setsid sleep 300 & echo $!; wait"]
    env = who.env | ({"SANDRUN_EXECUTOR": executor} if executor else {})
    # The words of the command are the last five.
    caller = who.popen(
        [who.sandrun[0], file, *words, "x"], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert caller.stdout
    pid = int(caller.stdout.readline())
    caller.kill()
    caller.wait()
    wait_until(lambda: gone(pid))
    caller.stdout.close()
    assert caller.stdin
    caller.stdin.close()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--hold", "3"), "not two file descriptors: --hold 3"),
        (("--hold", "x:3"), "not a file descriptor: --hold x"),
        (("--hold", "1:2"), "not free for events: --hold 1"),
        (("--hold", "77:78"), "cannot use: --hold 77: Bad file descriptor (EBADF)"),
        (("--hold", "3:4", "--exec"), "--exec and --hold do not go together"),
    ],
)
def test_wrong_words(who: Who, words: tuple[str, ...], message: str) -> None:
    """A mistake is said before anything runs."""
    ran = sandrun(*OPEN, *words, "--", "echo", "ran", who=who)
    assert ran.returncode == 125
    assert ran.stdout == ""
    assert ran.stderr.splitlines()[0] == f"sandrun: {message}"
