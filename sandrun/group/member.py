"""One command of a group: a launch of sandrun, held until it is let go, stopped when it is time."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import select
import signal
import socket
import time
from typing import TYPE_CHECKING

from sandrun.primitives import fds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sandrun.group.model import Command

HIGH = 200
"""Descriptors of this process are from here on, so that none has the number that one of a command is to get."""
LONGEST_NAME = 60
"""Characters; memfd_create(2) takes 249 bytes."""
FORCE_SECONDS = 10.0
"""How long the end of a tree may take on a busy machine before its launch is killed, which would leave the rest of it."""
LOOK_SECONDS = 0.05
IGNORED = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGTTOU)
"""By Python, and by the supervisor of the group."""
NEW, STARTING, HELD, RUNNING, STOPPING, WAITING, ENDED = (
    *("new", "starting", "held", "running", "stopping", "waiting", "ended"),
)
ALIVE = (STARTING, HELD, RUNNING, STOPPING)


def high(fd: int) -> int:
    """The same under a high number, closed by execve."""
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, HIGH)
    except OSError as error:
        # fcntl(2) says EINVAL where HIGH itself is beyond the limit.
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE)) from error
    finally:
        os.close(fd)


def pipe() -> tuple[int, int]:
    """The read and the write end of a new pipe."""
    reader, writer = os.pipe()
    return high(reader), high(writer)


def full_pipe() -> tuple[int, int]:
    """A pipe into which nothing can be written before it has been read from."""
    reader, writer = pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(writer, False)
    try:
        while True:
            os.write(writer, bytes(4096))
    except BlockingIOError:
        os.set_blocking(writer, True)
    return reader, writer


def sealed(text: str, name: str) -> int:
    """A file in no directory that has this content, and nobody can change. Messages about a profile in it have `name`."""
    fd = high(fds.sealed(name[-LONGEST_NAME:], text.encode("utf-8", "surrogateescape")))
    os.fchmod(fd, 0o600)
    return fd


class Member:
    """The state of one command. `ends` are its descriptors, by their numbers in it; they are this object's to close."""

    def __init__(self, command: Command, ends: Mapping[int, int]) -> None:
        self.command = command
        self.ends = dict(ends)
        self.state = NEW
        self.pid = self.pidfd = -1
        self.status = 0
        self.is_released = self.executed = self.is_up = self.been_ready = self.forced = False
        self.restarts = 0
        self.began = 0.0
        self.deadline: float | None = None
        """Of what is awaited in this state: readiness, the end, or the next start."""
        self.confined = self.go = self.events = self.told = -1
        """Where it tells that it is confined, is let go, has events, and tells that it is ready; -1 if closed."""
        self.heard = b""
        self.failure: tuple[str, ...] = ()
        """Why the command did not run, as the launch told last."""
        self.before: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        return self.command.name

    # --- start ---

    def start(self, words: Sequence[str]) -> None:
        """Start the launch; its command waits. Raises OSError."""
        command = self.command
        self.is_released, self.executed, self.is_up, self.forced, self.heard = False, False, False, False, b""
        self.before = _identity(command.ready.path)
        given = dict(self.ends)
        self.confined, confined = pipe()
        self.go, go = full_pipe()
        self.events, events = pipe()
        opened = [confined, go, events, sealed(command.policy, command.source)]
        if command.ready.kind == "fd":
            self.told, given[command.ready.number] = pipe()
            opened.append(given[command.ready.number])
        at = max(3, *(number + 1 for number in given)) if given else 3
        given |= {at: confined, at + 1: go, at + 2: events, at + 3: opened[3]}
        profiles = (word for name in (*command.profiles, f"/proc/self/fd/{at + 3}") for word in ("-p", name))
        options = ("--status-fd", f"{at + 2}", "--hold", f"{at}:{at + 1}")
        argv = (*words, *profiles, *options, "--", *command.argv)
        try:
            self.pid = os.posix_spawn(
                argv[0],
                argv,
                os.environ,
                file_actions=[(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in given.items()],
                setpgroup=0,
                setsigmask=(),
                setsigdef=IGNORED,
            )
        finally:
            for fd in opened:
                os.close(fd)
        self.pidfd = high(os.pidfd_open(self.pid))
        self.state, self.began = STARTING, time.monotonic()
        if not command.restart.on_failure:
            self.let_go_of_ends()

    def release(self) -> None:
        """Let the command start."""
        os.read(self.go, 1 << 20)  # it stays open until the command has been executed: the write is still to come
        self.is_released, self.state, self.began = True, RUNNING, time.monotonic()
        self.deadline = self.began + self.command.ready.seconds if self.command.ready.kind else None

    # --- what it tells ---

    def has_events(self) -> bool:
        """Whether there is something to hear, if only that nothing more will come."""
        return self.events >= 0 and bool(_events_of(self.events))

    def hear(self) -> bool:
        """Read the events of the launch, which the command cannot write; whether the command has just been executed."""
        data = os.read(self.events, 1 << 16)
        if not data:
            self._close("events")
        *lines, self.heard = (self.heard + data).split(b"\n")
        events = [json.loads(line) for line in lines]
        executes = any(event["event"] == "exec" for event in events)
        self.failure = tuple(line for event in events if event["event"] == "error" for line in event["lines"])
        if executes:
            self.executed = True
            self._close("go")
        return executes

    def is_ready(self) -> bool:
        """Look whether it is. Nothing is read that the command wrote."""
        ready = self.command.ready
        if ready.kind == "fd":
            return self.told >= 0 and self._has_told()
        if ready.kind == "tcp":
            return any(_connects(family, address, ready.number) for family, address in _LOOPBACKS)
        if ready.kind == "file":
            return _identity(ready.path) not in ((), self.before)
        return not ready.kind and self.executed

    def _has_told(self) -> bool:
        found = _events_of(self.told)
        if found and not found & select.POLLIN:
            self._close("told")  # nobody is left who could
        return bool(found & select.POLLIN)

    # --- the end ---

    def stop(self) -> None:
        """Ask it to end."""
        if self.state in (STARTING, HELD):
            self._close("go")  # nobody lets it go any more
        else:
            is_kill = self.command.stop_signal == signal.SIGKILL
            self._signal(signal.SIGALRM if is_kill else self.command.stop_signal)
        self.state, self.deadline = STOPPING, time.monotonic() + self.command.stop_seconds

    def force(self) -> None:
        """Have it end: SIGALRM tells the launch to kill all that its command started. If that does not help, kill it.

        A launch that is killed itself leaves what its command started, if that has no pid namespace. One that has not been
        let go has started nothing, and would not look at a signal before it is.
        """
        if self.forced or not self.is_released:
            self._signal(signal.SIGKILL)
        else:
            self._signal(signal.SIGALRM)
            self._signal(signal.SIGCONT)  # a stopped launch hears nothing
        self.forced, self.deadline = True, time.monotonic() + FORCE_SECONDS

    def reap(self) -> None:
        """Take the status of a launch that has ended."""
        end = os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED)
        assert end is not None  # noqa: S101 (without WNOHANG there is one)
        self.status = end.si_status if end.si_code == os.CLD_EXITED else 128 + end.si_status
        for name in ("confined", "go", "events", "told", "pidfd"):
            self._close(name)
        self.deadline = None

    def let_go_of_ends(self) -> None:
        """Close what it would get at its next start: others then see that it is gone."""
        for fd in self.ends.values():
            os.close(fd)
        self.ends = {}

    def _signal(self, number: int) -> None:
        try:
            signal.pidfd_send_signal(self.pidfd, number)
        except ProcessLookupError:
            return  # it has ended

    def _close(self, name: str) -> None:
        fd = getattr(self, name)
        if fd >= 0:
            os.close(fd)
            setattr(self, name, -1)


_LOOPBACKS = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))


def _events_of(fd: int) -> int:
    """What poll(2) says now of a descriptor that is read from."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return sum(found for _, found in poll.poll(0))


def _connects(family: int, address: str, port: int) -> bool:
    try:
        with socket.socket(family, socket.SOCK_STREAM) as attempt:
            attempt.settimeout(LOOK_SECONDS)
            # A socket that happens to get this very port is connected to itself.
            return attempt.connect_ex((address, port)) == 0 and attempt.getsockname() != attempt.getpeername()
    except OSError as error:
        if error.errno not in (errno.EAFNOSUPPORT, errno.ENETUNREACH, errno.EADDRNOTAVAIL, None):
            raise
        return False


def _identity(path: str) -> tuple[int, ...]:
    """What tells a file from one that had this name before; () if there is none."""
    try:
        found = os.lstat(path) if path else None
    except OSError:
        return ()
    return (found.st_dev, found.st_ino, found.st_mtime_ns) if found else ()
