"""When the command ends, everything that it started ends, whatever it did to get away."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import struct
import time
from typing import TYPE_CHECKING

import pytest

from sandrun import libc
from sandrun.policy import syscalls
from sandrun.primitives import seccomp, tree
from tests.integration.supervised import KILLS, python, reported, words
from tests.support import in_child, need_landlock, need_root

if TYPE_CHECKING:
    from tests.support import Who

LIBC = ctypes.CDLL(None)
CLONE_NEWNS, MS_REC, MS_PRIVATE = 0x00020000, 1 << 14, 1 << 18
BOTH_KILLS = pytest.mark.parametrize("kill", KILLS)

READY = """
import os
reader, writer = os.pipe2(os.O_CLOEXEC)
os.set_blocking(writer, False)
def ready(number):
    while number:
        number -= len(os.read(reader, number))
"""
"""What is started says by `writer` that it is there; the command goes on when so many have done so."""
DAEMON = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    os.setsid()
    os.write(writer, b".")
    time.sleep(600)
ready(1)
"""
DEEP = """
import os, time
for _ in range(50):
    if os.fork():
        time.sleep(600)
os.kill(first, 9)
time.sleep(600)
"""
STUBBORN = """
import os, signal, time
for _ in range(5):
    if os.fork() == 0:
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_IGN)
        os.setsid()
        os.write(writer, b".")
        os.kill(os.getpid(), signal.SIGSTOP)
        time.sleep(600)
ready(5)
"""
SUBREAPER = """
import ctypes, os, time
if os.fork() == 0:
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
    os.setsid()
    for _ in range(3):
        if os.fork() == 0:
            if os.fork():
                os._exit(0)
            os.write(writer, b".")
            time.sleep(600)
    time.sleep(600)
ready(3)
"""
COMET = """
import os, time
for _ in range(3):
    if os.fork() == 0:
        while True:
            if os.fork():
                os._exit(0)
            os.setsid()
time.sleep(0.3)
"""
STORM = """
import os, resource, time
if os.fork() == 0:
    mine = 0
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            mine += os.stat("/proc/" + name).st_uid == os.getuid()
        except FileNotFoundError:
            pass
    resource.setrlimit(resource.RLIMIT_NPROC, (mine + 64, mine + 64))
    while True:
        try:
            if os.fork() == 0:
                os.setsid()
                os.write(writer, b".")
        except OSError:
            pass
ready(20)
"""
"""The limit counts all processes of the user, of other tests too: only who goes on whatever fork says lives by it."""
THREADS = """
import os, threading, time, ctypes
if os.fork() == 0:
    threading.Thread(target=time.sleep, args=(60,)).start()
    ctypes.CDLL(None).syscall(60 if os.uname().machine == "x86_64" else 93, 0)
time.sleep(0.2)
"""
"""The first thread exits and the other goes on: /proc shows a zombie that is alive."""


@BOTH_KILLS
@pytest.mark.parametrize(
    ("code", "least"),
    [(DAEMON, 1), (STUBBORN, 5), (SUBREAPER, 4), (COMET, 3), (THREADS, 1)],
    ids=["daemon", "stubborn", "subreaper", "comet", "threads"],
)
def test_nothing_is_left(who: Who, kill: str, code: str, least: int) -> None:
    """The count says that they were there, the fixture no_leaks that they are gone.

    Where the tree is searched, a swarm that forks and exits without a pause on every processor can outlast the search
    by luck (supervise names the survivors then), so there one process respawns, a thousand times a second.
    """
    if code == COMET and kill == "searched":
        code, least = COMET.replace("range(3)", "range(1)").replace("os.setsid()", "os.setsid(), time.sleep(0.001)"), 1
    if code == COMET and kill == "namespace":
        least = 0  # they are counted at one look, and may all be between two processes then
    status, outcome = reported(who, *python(who, READY + code), kill=kill)
    assert status == 0
    assert outcome["killed"] >= least


@BOTH_KILLS
def test_deep_tree(who: Who, kill: str) -> None:
    """A line of fifty parents and children, all alive."""
    code = DEEP.replace("import os, time", "import os, time\nfirst = os.getpid()")
    status, outcome = reported(who, *python(who, code), kill=kill)
    assert status == 137
    assert outcome["killed"] == 50


@BOTH_KILLS
def test_fork_storm(who: Who, kill: str) -> None:
    """As many processes as the limit allows, each forking all the time in a session of its own."""
    if who.is_root:
        pytest.skip("root has no RLIMIT_NPROC")
    status, outcome = reported(who, *python(who, READY + STORM), kill=kill)
    assert status == 0
    assert outcome["killed"] >= 20


# --- the parts, where the program cannot show them -------------------------------------------------------------------


def sleeping_child() -> tuple[int, int]:
    """A child and the pipe's end that it lives by: it ends when no process has it open, this one dead at the latest."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(writer)
        os.read(reader, 1)
        os._exit(0)
    os.close(reader)
    return pid, writer


def test_signals_of_the_scope_stay_inside(who: Who) -> None:
    """After scope_signals kill(-1) reaches what was started afterwards and nothing else, also as root."""
    need_landlock(6)

    def run() -> tuple[bool, bool, bool]:
        outside, writer = sleeping_child()
        scoped = tree.scope_signals(refer=True)
        inside, _ = sleeping_child()
        tree.signal_tree(scoped, libc.SIGKILL)
        died = os.waitpid(inside, 0)[1] == libc.SIGKILL
        alive = os.waitpid(outside, os.WNOHANG) == (0, 0)
        os.close(writer)  # the scope keeps us from killing it
        os.waitpid(outside, 0)
        return scoped, died, alive

    assert in_child(run, who) == (True, True, True)


def test_mounting_stays_possible_in_the_scope() -> None:
    """A Landlock domain that handles file access could never mount again; this one handles none."""
    need_landlock(6)
    need_root()

    def run() -> tuple[bool, int]:
        scoped = tree.scope_signals(refer=False)
        assert LIBC.unshare(CLONE_NEWNS) == 0
        return scoped, LIBC.mount(None, b"/", None, MS_REC | MS_PRIVATE, None)

    assert in_child(run) == (True, 0)


def test_a_scope_that_is_not_in_force(who: Who, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel or a filter that answers success without doing anything is found out: kill(-1) would hit everybody."""

    def run() -> bool:
        monkeypatch.setattr(libc, "landlock_create_ruleset", lambda _attr, flags=0: os.open("/dev/null", os.O_RDONLY))
        monkeypatch.setattr(libc, "landlock_restrict_self", lambda _fd, flags=0: None)
        return tree.scope_signals(refer=False)

    assert in_child(run, who) is False


def test_a_witness_that_has_ended_proves_no_scope(who: Who, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a signal that is not permitted shows that signals are scoped, not one for which there is no process any more."""

    def run() -> bool:
        answers = iter((None, ProcessLookupError(errno.ESRCH, "")))

        def kill(_pid: int, _signal: int) -> None:
            answer = next(answers)
            if answer is not None:
                raise answer

        monkeypatch.setattr(os, "kill", kill)
        monkeypatch.setattr(libc, "landlock_create_ruleset", lambda _attr, flags=0: os.open("/dev/null", os.O_RDONLY))
        monkeypatch.setattr(libc, "landlock_restrict_self", lambda _fd, flags=0: None)
        return tree.scope_signals(refer=False)

    assert in_child(run, who) is False


@pytest.mark.parametrize("executor", ["native", "python"])
def test_no_signal_to_all_without_the_proof(executor: str, who: Who) -> None:
    """Where no witness is ever found, nothing is sent to everybody (which this filter would kill for), and the tree ends."""
    command = ("/bin/sh", "-c", "sleep 60 & exit 3")
    env = {**who.env, "SANDRUN_EXECUTOR": executor}
    report = who.home / "report.json"
    started = [*words(who, "--report", str(report), kill="scoped"), *command]
    done = who.run(started, env=env, preexec_fn=hide_witnesses)
    killed = json.loads(report.read_text())["outcome"]["killed"]
    assert (done.returncode, killed, done.stderr) == (3, 1, "")


def hide_witnesses() -> None:
    """A `preexec_fn`: kill(2) finds no process to ask about, and kills who sends a signal to all."""
    number = syscalls.number("kill", os.uname().machine)
    assert number is not None
    instructions = (
        (0x20, 0, 0, 0),  # the number of the call
        (0x15, 0, 5, number),
        (0x20, 0, 0, 24),  # the lower half of its second argument
        (0x15, 2, 0, 0),
        (0x20, 0, 0, 16),  # and of its first
        (0x15, 2, 1, 0xFFFFFFFF),
        (0x06, 0, 0, seccomp.errno_action(errno.ESRCH)),
        (0x06, 0, 0, seccomp.ALLOW),
        (0x06, 0, 0, seccomp.KILL_PROCESS),
    )
    program = libc.SockFprog(b"".join(struct.pack("=HBBI", *one) for one in instructions))
    libc.prctl(libc.PR_SET_NO_NEW_PRIVS, 1)
    libc.seccomp(libc.SECCOMP_SET_MODE_FILTER, 0, program)


def test_only_the_tree_is_signalled(who: Who) -> None:
    """The search through /proc leaves alone what is not below this process."""

    def run() -> tuple[bool, bool]:
        reader, writer = os.pipe()
        helper = os.fork()
        if not helper:
            libc.prctl(libc.PR_SET_CHILD_SUBREAPER, 1)
            libc.rt_sigprocmask(libc.SIG_SETMASK, libc.ALL_SIGNALS)
            sleeping_child()
            fd = libc.signalfd4(-1, libc.ALL_SIGNALS, libc.SFD_NONBLOCK)
            os.write(writer, bytes(tree.kill_tree(60, fd, scoped=False)[:1]))
            os._exit(0)
        sibling, _ = sleeping_child()
        killed = os.read(reader, 1) == b"\x01"
        os.waitpid(helper, 0)
        alive = os.waitpid(sibling, os.WNOHANG) == (0, 0)
        os.kill(sibling, 9)
        os.waitpid(sibling, 0)
        return killed, alive

    assert in_child(run, who) == (True, True)


def test_has_executed() -> None:
    """A child that only forked is told from one that executed, also as a zombie."""
    forked = os.fork()
    if not forked:
        os._exit(0)
    executed = os.posix_spawn("/bin/true", ["true"], {})
    for pid, expected in ((forked, False), (executed, True)):
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert tree.has_executed(pid) is expected
        os.waitpid(pid, 0)


def test_survivors_are_named(who: Who) -> None:
    """A process that may not be killed does not hold us for ever: it is named."""
    if not who.is_root:
        pytest.skip("only root can make a process that this user cannot kill")

    def run() -> tuple[tuple[int, tuple[int, ...]], int, float]:
        libc.prctl(libc.PR_SET_CHILD_SUBREAPER, 1)
        libc.rt_sigprocmask(libc.SIG_SETMASK, libc.ALL_SIGNALS)
        fd = libc.signalfd4(-1, libc.ALL_SIGNALS, libc.SFD_NONBLOCK)
        other, _ = sleeping_child()
        os.setresuid(1234, 1234, 0)
        began = time.monotonic()
        result = tree.kill_tree(0.3, fd, scoped=False)
        took = time.monotonic() - began
        os.seteuid(0)
        os.setuid(0)
        os.kill(other, 9)
        os.waitpid(other, 0)
        return result, other, took

    (killed, survivors), other, took = in_child(run, who)
    assert (killed, survivors) == (0, (other,))
    assert took < 30
