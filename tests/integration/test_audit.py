"""The audit against the kernel: what it says is closed cannot be reached, and what is not can be."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.supervised import sleeping
from tests.support import CHECKOUT, Who, a_directory, need_program, sandrun

if TYPE_CHECKING:
    from collections.abc import Iterator

LIBC = ctypes.CDLL(None, use_errno=True)
IPC_CREAT, IPC_RMID = 0o1000, 0
SOURCE = (CHECKOUT / "tests" / "probes" / "reach.py").read_text(encoding="utf-8")
ENOUGH = 15
"""So many lines at least must be tried with success where the profile opens them, and so many without where not."""

METADATA = "mode, owner, times and attributes of files not granted"
LAUNCHES = {
    # name: the profile, and options on top of it
    "default": ("default",),
    "strict": ("strict", "--read", "/usr", "--execute", "/usr", "--read", "/etc", "--write", "."),
    "shared": ("default", "--tmp", "host", "--unix", "@all", "--home", "host", "--write", "{home}"),
    "network": ("default", "--connect", "*", "--family", "netlink", "--isolate", "signals"),
    "open": (
        *(
            "none",
            "--read",
            "/",
            "--execute",
            "/",
            "--isolate",
            "false",
            "--unix",
            "@all",
            "--connect",
            "*",
            "--write",
            ".",
        ),
        *(
            "--family",
            "netlink",
            "--write",
            "{home}",
            "--write",
            "/tmp",
            "--write",
            "/dev/shm",
            "--write",
            "/dev/fuse?",
        ),
        *("--rule", "/etc/passwd=write_file", "--rule", "/proc/sys/kernel/core_pattern=write_file"),
    ),
}


@dataclass
class Outside:
    """What the probes try to reach."""

    who: Who
    work: Path
    facts: dict[str, Any]
    env: dict[str, str]

    def reached(self, *launcher: str | Path) -> set[str]:
        """The lines whose attempt succeeds, started by these words."""
        argv = (*launcher, need_program("python3"), "-I", "-S", "-c", SOURCE, json.dumps(self.facts))
        self._reset()
        fd = self.facts["fd"]
        done = self.who.run(argv, cwd=self.work, env=self.env, pass_fds=(fd,))
        assert done.returncode == 0, done.stderr
        return set(json.loads(done.stdout)) - self._untouched()

    def _files(self) -> dict[str, Path]:
        """The lines whose attempt changes a file, and that file. In a place of its own, the command changes another."""
        home = self.who.home
        return {
            "temporary directories": Path(self.facts["temporary"]),
            "POSIX shared memory and semaphores": Path(self.facts["posix"]),
            "start files of shells": home / ".bashrc",
            METADATA: Path(self.facts["other"]),
            "ssh": home / ".ssh" / "authorized_keys",
            "autostart of desktops": home / ".config" / "autostart",
            "set-id programs made": self.work / "file",
        }

    def _untouched(self) -> set[str]:
        files = self._files()
        return {name for name, path in files.items() if not path.exists() or _looks(path) == self._before.get(path)}

    def _reset(self) -> None:
        """Take back what an attempt without sandrun has done."""
        for name in ("temporary directories", "ssh", "autostart of desktops"):
            path = self._files()[name]
            if path.exists():
                path.rmdir() if path.is_dir() else path.unlink()
        os.utime(self.facts["other"])
        queue = LIBC.mq_open(self.facts["mq"].encode(), os.O_CREAT | os.O_RDWR, 0o600, None)
        os.chown(queue, self.who.uid, self.who.gid)
        os.close(queue)
        (self.work / "file").chmod(0o644)
        self._before = {path: _looks(path) for path in self._files().values() if path.exists()}


def _looks(path: Path) -> tuple[int, int, float]:
    found = path.stat()
    return found.st_size, found.st_mode, found.st_mtime


@pytest.fixture
def out(who: Who) -> Iterator[Outside]:
    """Objects of every kind that belong to the user and lie outside of any sandbox."""
    with contextlib.ExitStack() as stack:
        work = stack.enter_context(a_directory())
        for path in (who.home / ".bashrc", work / "file"):
            path.touch()
            who.own(path)
        for name in (".ssh", ".config", ".config/sandrun", ".local", ".local/state", ".local/state/sandrun"):
            (who.home / name).mkdir()
            who.own(who.home / name)
        who.own(work)
        # Without capabilities: what holds some is out of reach of whoever has fewer (sched_setscheduler(2)).
        drop = [need_program("setpriv"), "--bounding-set=-all"] if who.is_root else []
        sleeper = stack.enter_context(who.popen([*drop, need_program("sleep"), "1000"]))
        stack.callback(sleeper.kill)
        sleeping(sleeper.pid)
        facts: dict[str, Any] = {"pid": sleeper.pid, "name": "sleep", "home": str(who.home), "work": str(work)}
        facts |= _ipc(stack) | _sockets(stack, who) | _files(stack, who)
        facts["fd"] = os.open(work / "file", os.O_RDONLY)
        stack.callback(os.close, facts["fd"])
        env = who.env | {"SSH_AUTH_SOCK": facts["agent"]}
        yield Outside(who, work, facts, env)


def _ipc(stack: contextlib.ExitStack) -> dict[str, Any]:
    shm = LIBC.shmget(0, 4096, IPC_CREAT | 0o666)
    stack.callback(LIBC.shmctl, shm, IPC_RMID, None)
    sem = LIBC.semget(0, 1, IPC_CREAT | 0o666)
    stack.callback(LIBC.semctl, sem, 0, IPC_RMID)
    msg = LIBC.msgget(0, IPC_CREAT | 0o666)
    stack.callback(LIBC.msgctl, msg, IPC_RMID, None)
    mq = f"/srtest-{os.getpid()}"
    stack.callback(LIBC.mq_unlink, mq.encode())
    assert min(shm, sem, msg) >= 0
    return {"shm": shm, "sem": sem, "msg": msg, "mq": mq}


def _sockets(stack: contextlib.ExitStack, who: Who) -> dict[str, Any]:
    def bound(family: int, kind: int, address: Any) -> Any:
        server = stack.enter_context(socket.socket(family, kind))
        server.bind(address)
        if kind == socket.SOCK_STREAM:
            server.listen(64)
        return server.getsockname()

    agent, abstract = who.home / "agent", f"\0srtest-{os.getpid()}"
    bound(socket.AF_UNIX, socket.SOCK_STREAM, str(agent))
    who.own(agent)
    bound(socket.AF_UNIX, socket.SOCK_STREAM, abstract)
    return {
        "agent": str(agent),
        "abstract": abstract,
        "tcp": bound(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0))[1],
        "udp": bound(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0))[1],
    }


def _files(stack: contextlib.ExitStack, who: Who) -> dict[str, Any]:
    posix, other = (Path(place, f"srtest-{os.getpid()}") for place in ("/dev/shm", "/var/tmp"))
    temporary = Path(f"/tmp/srtest-audit-{os.getpid()}")
    for path in (posix, other):
        path.touch()
        who.own(path)
        stack.callback(path.unlink)
    stack.callback(temporary.unlink, missing_ok=True)
    return {"posix": str(posix), "other": str(other), "temporary": str(temporary)}


@pytest.mark.parametrize("launch", LAUNCHES)
def test_the_audit_and_the_kernel_agree(launch: str, who: Who, out: Outside) -> None:
    """What a line calls closed fails; what it calls granted or open works as it does without sandrun."""
    profile, *words = (word.format(home=who.home) for word in LAUNCHES[launch])
    done = sandrun("profile", "audit", profile, *words, "--json", who=who, cwd=out.work, env=out.env)
    assert done.returncode in (0, 1), done.stderr
    states = {line["name"]: line["state"] for line in json.loads(done.stdout)["findings"]}
    assert (done.returncode == 1) == ("open" in states.values())
    control = out.reached()
    if "host" in words:
        control.discard(METADATA)  # the file that stands for those not granted is
    reached = control & out.reached(*who.sandrun, "-q", "-p", profile, *words, "--")
    closed = {name for name, state in states.items() if state == "closed"}
    assert sorted(closed & reached) == [], "called closed, and reached"
    assert sorted(control - reached - closed) == [], "called open, and not reached"
    if launch == "default":
        assert len(control & closed) >= ENOUGH, "too few lines are proven closed"
    if launch == "open":
        assert len(control & reached) >= ENOUGH, "too few lines are proven open"


def test_every_probe_is_of_a_line(who: Who) -> None:
    """No attempt is left that the audit no longer speaks of."""
    done = sandrun("profile", "audit", "--json", who=who, cwd="/usr")
    names = {line["name"] for line in json.loads(done.stdout)["findings"]}
    known: dict[str, Any] = {"__name__": "reach"}
    exec(compile(SOURCE, "reach.py", "exec"), known)
    blank = dict.fromkeys(("pid", "home", "work", "shm", "sem", "msg", "mq"), 0)
    assert set(known["attempts"](blank)) <= names
