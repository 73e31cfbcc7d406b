"""Run the real program for tests of its supervisor: everything is granted, so that only supervision is seen."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import struct
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pexpect
import pytest

from sandrun import libc
from sandrun.policy import syscalls
from sandrun.primitives import seccomp
from tests.support import PATIENCE, descendants, landlock_abi, need_landlock, need_namespaces

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support import Who

GRANTS = ("-p", "none", "--execute", "@all", "--write", "@all")
KILLS = {"scoped": ("--isolate", "signals"), "searched": ("--isolate", "false"), "namespace": ("--isolate", "true")}
"""The ways to end the tree: one kill(-1) within a Landlock scope, a search through /proc, or a pid namespace's end."""
SECONDS = 60 * PATIENCE
"""How long a test waits for anything; only one that fails waits so long."""
KILL = "scoped" if landlock_abi() >= 6 else "searched"
"""The better of what this kernel has without namespaces, for tests that are about something else."""


def words(who: Who, *options: str, kill: str = "") -> list[str]:
    """The words that start sandrun, up to the `--`."""
    kill = kill or KILL
    if kill == "scoped":
        need_landlock(6)
    if kill == "namespace":
        need_namespaces(who)
    return [*who.sandrun, *GRANTS, *KILLS[kill], *options, "--"]


def python(who: Who, code: str) -> list[str]:
    """A command that runs Python code, by an interpreter that this user can execute."""
    return [who.sandrun[0], "-I", "-S", "-c", code]


def start(who: Who, *command: str, options: tuple[str, ...] = (), kill: str = "", **more: Any) -> Any:
    """Start sandrun in a process group of its own, without a terminal; output is a text pipe."""
    more.setdefault("stdin", subprocess.DEVNULL)
    more.setdefault("process_group", 0)
    more.setdefault("stderr", subprocess.STDOUT)
    return who.popen([*words(who, *options, kill=kill), *command], stdout=subprocess.PIPE, text=True, **more)


def reported(who: Who, *command: str, options: tuple[str, ...] = (), **more: Any) -> tuple[int, dict[str, Any]]:
    """Run to the end: the exit status and the `outcome` of `--report`."""
    report = who.home / "report.json"
    done = who.run([*words(who, *options, "--report", str(report), **more), *command], timeout=90)
    return done.returncode, json.loads(report.read_text())["outcome"]


def state(pid: int) -> str:
    """The state letter of /proc/PID/stat, or "" if there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def gone(pid: int) -> bool:
    """Whether a process has ended; who reaps an orphan, and when, is not the question."""
    return state(pid) in ("", "Z")


def wait_until(condition: Callable[[], object], seconds: float = SECONDS) -> None:
    """Fail if the condition does not come true in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            pytest.fail(f"waited {seconds} s in vain")
        time.sleep(0.01)


def at_rest(*pids: int) -> None:
    """Wait until these processes sleep and nothing wakes them up for a while: what they do at their start is over then."""

    def look() -> list[tuple[str, str]]:
        return [(state(pid), waits(pid)) for pid in pids]

    def rest() -> bool:
        before = look()
        time.sleep(0.3)
        return before == look() and all(letter == "S" for letter, _ in before)

    wait_until(rest)


def waits(pid: int) -> str:
    """How often a process has gone to sleep."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith("voluntary_ctxt_switches"))


def soon_enough(attempt: Callable[[str], bool]) -> None:
    """Try with a timeout of sandrun's that an idle machine keeps, and with longer ones until the command came far enough
    within it, which is what `attempt` tells."""
    for timeout in ("500ms", "3s", "20s"):
        if attempt(timeout):
            return
    pytest.fail("the command did not come far enough within the timeout")


def numbers(pid: int) -> list[int]:
    """The ids of a process in each pid namespace from ours down to its own, [] if it is gone."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("NSpid:"):
                return [int(word) for word in line.split()[1:]]
    return []


def seen_here(pid: int) -> int:
    """The id here of the process below this one that calls itself `pid`, in whatever pid namespace."""
    found: list[int] = []

    def look() -> bool:
        # The kernel's list of children leaves some out while others of them end (proc_pid_task_children(5)).
        found[:] = [one for one in descendants() if numbers(one)[-1:] == [pid]]
        return len(found) == 1

    wait_until(look)
    return found[0]


def child_of(pid: int) -> int:
    """The only child of a process, besides an init process: the command of a supervisor."""
    found: list[int] = []

    def look() -> bool:
        found[:] = [
            int(entry)
            for entry in os.listdir("/proc")
            if entry.isdigit() and parent(int(entry)) == pid and not gone(int(entry)) and numbers(int(entry))[1:] != [1]
        ]
        return len(found) == 1

    wait_until(look)
    return found[0]


def sleeping(pid: int) -> None:
    """Wait until a script has executed sleep(1): dash forgets an interrupt that comes while it starts a program."""
    wait_until(lambda: Path(f"/proc/{pid}/comm").read_text() == "sleep\n")


def parent(pid: int) -> int:
    """The parent's id, 0 if the process is gone."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0


@contextlib.contextmanager
def terminal(who: Who, *argv: str, **more: Any) -> Any:
    """A program on a terminal of its own, driven by pexpect."""
    if os.geteuid() == 0 and not who.is_root:
        more["preexec_fn"] = who.drop
    more.setdefault("env", {**who.env, "TERM": "dumb", "PS1": "READY> ", "HISTFILE": ""})
    box = pexpect.spawn(argv[0], list(argv[1:]), cwd=str(who.home), timeout=SECONDS, encoding="utf-8", **more)
    try:
        yield box
    finally:
        # It raises if the process is still there a tenth of a second after SIGKILL.
        with contextlib.suppress(pexpect.ExceptionPexpect):
            box.close(force=True)
        wait_until(lambda: not box.isalive())
        box.close(force=True)


@contextlib.contextmanager
def shell(who: Who) -> Any:
    """An interactive bash on a terminal, at its prompt; `sr` is a function that runs sandrun."""
    with terminal(who, "/bin/bash", "--norc", "--noprofile", "-i") as bash:
        bash.expect("READY> ")
        bash.sendline("bind 'set enable-bracketed-paste off' 2>/dev/null; stty -echo; PS1='READY''> '; set +H")
        bash.expect("READY> ")
        yield bash


def command_line(who: Who, *options: str, kill: str = "") -> str:
    """The words of `words` as a shell takes them."""
    return " ".join(f"'{word}'" for word in words(who, *options, kill=kill))


def refusing(action: int, *names: str) -> Callable[[], None]:
    """A `preexec_fn` that puts the process under a filter with this action for some syscalls, as a container does."""
    machine = os.uname().machine
    numbers = [syscalls.number(name, machine) for name in names]
    program = struct.pack("=HBBI", 0x20, 0, 0, 0)
    for number in numbers:
        assert number is not None
        program += struct.pack("=HBBI", 0x15, 0, 1, number) + struct.pack("=HBBI", 0x06, 0, 0, action)
    filtered = libc.SockFprog(program + struct.pack("=HBBI", 0x06, 0, 0, seccomp.ALLOW))

    def enter() -> None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        libc.prctl(libc.PR_SET_NO_NEW_PRIVS, 1)
        libc.seccomp(libc.SECCOMP_SET_MODE_FILTER, 0, filtered)

    return enter
