"""Signals to the supervisor without a terminal: what reaches the command, and that it does so once."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration import supervised
from tests.integration.supervised import child_of, parent, python, seen_here, start, state, wait_until
from tests.support import descendants

if TYPE_CHECKING:
    from tests.support import Who

FORWARDED = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGTERM,
    signal.SIGWINCH,
    signal.SIGTSTP,
    signal.SIGCONT,
)
LISTENER = """
import os, signal
every = set(range(1, 65)) - {signal.SIGKILL, signal.SIGSTOP, 32, 33}
signal.pthread_sigmask(signal.SIG_BLOCK, every)
print(os.getpid(), flush=True)
number = 0
while number != signal.SIGUSR2:
    number = signal.sigwait(every)
    print(number, flush=True)
"""
"""Prints each signal that it gets, and ends with SIGUSR2."""


@pytest.fixture(params=(supervised.KILL, "namespace"), autouse=True)
def _in_both(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test is run without namespaces and with a pid namespace: outside all must be the same."""
    monkeypatch.setattr(supervised, "KILL", request.param)


def listener(who: Who, **more: Any) -> Any:
    """A command that listens to signals, running; its pid is `process.command`."""
    process = start(who, *python(who, LISTENER), **more)
    process.command = seen_here(int(process.stdout.readline()))
    return process


def heard(process: Any) -> list[int]:
    """All further signals, once there was time for one too many. Those that are to come have been read before: of several
    at once the lowest number comes first."""
    time.sleep(0.1)
    process.send_signal(signal.SIGUSR2)
    out, _ = process.communicate(timeout=60)
    numbers = [int(line) for line in out.split()]
    assert numbers.pop() == signal.SIGUSR2
    return numbers


def test_each_is_forwarded_once(who: Who) -> None:
    """Every signal of the list reaches the command, one time."""
    with listener(who) as process:
        for number in FORWARDED:
            process.send_signal(number)
            assert int(process.stdout.readline()) == number
        assert heard(process) == []
        assert process.returncode == 0


def test_signal_to_the_group(who: Who) -> None:
    """timeout(1) and build servers signal the whole group of the caller: the command has it once, from sandrun."""
    with listener(who) as process:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.killpg(process.pid, number)
            assert int(process.stdout.readline()) == number
        assert os.getpgid(process.command) == process.command
        assert heard(process) == []


def test_alarm_ends_all(who: Who) -> None:
    """SIGALRM kills the command and what it started, also where it ignores the signals that ask."""
    code = LISTENER.replace("print(os.getpid()", "os.fork() or os.setsid()\nprint(os.getpid()")
    with start(who, *python(who, code)) as process:
        process.stdout.readline()
        process.stdout.readline()
        process.send_signal(signal.SIGALRM)
        process.communicate(timeout=60)  # nobody holds the output any more
        assert process.returncode == 128 + signal.SIGKILL


def test_others_end_here(who: Who) -> None:
    """Signals that mean nothing to a command from outside neither reach it nor harm the supervisor."""
    with listener(who) as process:
        for number in (signal.SIGVTALRM, signal.SIGPIPE, signal.SIGTTIN, signal.SIGTTOU, signal.SIGIO, signal.SIGRTMIN):
            process.send_signal(number)
        assert heard(process) == []


def test_odd_mask_of_the_caller(who: Who) -> None:
    """A caller that blocks everything changes nothing: signals are forwarded, and the command's own mask is empty."""

    def block() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())

    with listener(who, preexec_fn=block) as process:
        process.send_signal(signal.SIGTERM)
        assert int(process.stdout.readline()) == signal.SIGTERM
        assert heard(process) == []
    with start(who, "/bin/grep", "SigBlk", "/proc/self/status", preexec_fn=block) as process:
        assert process.stdout.read().split() == ["SigBlk:", "0" * 16]


def test_sigchld_ignored_by_the_caller(who: Who) -> None:
    """Then the kernel would throw the command's status away, so it is set back for us and for the command."""

    def ignore() -> None:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)

    with start(who, "/bin/sh", "-c", "grep SigIgn /proc/self/status; exit 7", preexec_fn=ignore) as process:
        assert process.stdout.read().split() == ["SigIgn:", "0" * 16]
        assert process.wait(60) == 7


def test_nohup(who: Who) -> None:
    """A caller that ignores HUP wants the command to ignore it; other ignored signals get their default back."""

    def ignore() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)

    with start(who, "/bin/grep", "SigIgn", "/proc/self/status", preexec_fn=ignore) as process:
        assert int(process.stdout.read().split()[1], 16) == 1 << (signal.SIGHUP - 1)
    with listener(who, preexec_fn=ignore) as process:
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGUSR1)
        assert int(process.stdout.readline()) == signal.SIGUSR1
        assert heard(process) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
def test_default_action(who: Who, number: int) -> None:
    """A command that does nothing about a signal dies of it, and the status is 128 + its number."""
    with start(who, "/bin/sleep", "60") as process:
        wait_until(lambda: "sleep" in descendants(process.pid).values())
        process.send_signal(number)
        assert process.wait(60) == 128 + number


def test_stop_without_job_control(who: Who) -> None:
    """Where no shell could continue it, the supervisor does not stop with the command; CONT reaches the command."""
    with start(
        who, "/bin/sh", "-c", "echo up; kill -STOP $$; echo back", process_group=None, start_new_session=True
    ) as p:
        assert p.stdout.readline() == "up\n"
        command = child_of(p.pid)
        wait_until(lambda: state(command) == "T")
        time.sleep(0.1)
        assert state(p.pid) != "T"
        p.send_signal(signal.SIGCONT)
        assert p.stdout.readline() == "back\n"
        assert p.wait(60) == 0


def test_stop_and_continue_by_signals(who: Who) -> None:
    """TSTP to sandrun stops the command and then sandrun; CONT continues both."""
    with start(who, "/bin/sh", "-c", "echo up; until test -e go; do sleep 0.05; done; echo back") as process:
        assert process.stdout.readline() == "up\n"
        command = child_of(process.pid)
        process.send_signal(signal.SIGTSTP)
        wait_until(lambda: state(command) == "T" and state(process.pid) == "T")
        (who.home / "go").touch()
        process.send_signal(signal.SIGCONT)
        assert process.stdout.readline() == "back\n"
        assert process.wait(60) == 0


def test_signals_of_the_start_are_not_lost(who: Who) -> None:
    """A signal that comes while the launch is prepared is for the command, or ends sandrun: nothing hangs."""
    for delay in (0.02, 0.05, 0.08, 0.12):
        with start(who, "/bin/sleep", "60", stderr=subprocess.DEVNULL) as process:
            time.sleep(delay)
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) in (143, -signal.SIGTERM)


def test_new_session(who: Who) -> None:
    """tty = new-session: a session of its own, and signals still arrive once."""
    with listener(who, options=("--tty", "new-session")) as process:
        assert os.getsid(process.command) == process.command
        assert parent(process.command) == process.pid
        os.killpg(process.pid, signal.SIGTERM)
        assert int(process.stdout.readline()) == signal.SIGTERM
        assert heard(process) == []
