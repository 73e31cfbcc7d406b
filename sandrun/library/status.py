"""What the launcher says of a launch: the lines of `--status-fd`, read until the command runs, and after it has ended."""

from __future__ import annotations

import json
import os
import select
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from sandrun.errors import (
    EXIT_CANNOT_EXECUTE,
    EXIT_NOT_FOUND,
    EXIT_SANDRUN,
    CommandError,
    Problem,
    ProfileError,
    SandrunError,
    UnsupportedError,
    UsageError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

_CHUNK = 65536
_HELPER_SECONDS = 5.0
_LOOK_MS = 500
_HINT = "hint: "


def _has_ended(pid: int) -> bool:
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True  # somebody else has waited for it


class Enforcement(NamedTuple):
    """One protection of a launch: what was asked for, what keeps it, and what of it could not be had here.

    `state` and the names of `mechanisms` are those of the report (sandrun(1)); `lost` is not empty only where the profile
    made the protection optional.
    """

    key: str
    state: str
    mechanisms: tuple[str, ...] = ()
    requested: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class Denial(NamedTuple):
    """One thing that the command was refused, or what it failed of.

    `act` and `target` name it for programs, `what` and `reason` for people; `remedy` is the smallest flag that would grant
    it, or advice, "" if there is none. `standing` says how sure it is that the command failed of it, and `details` is the
    whole entry of the report (sandrun(1)).
    """

    act: str
    target: str
    what: str
    reason: str
    remedy: str
    standing: str
    times: int
    details: Mapping[str, Any]


class Resources(NamedTuple):
    """What a run used: seconds and bytes. None where it is not known; `memory_peak` needs a control group."""

    wall: float | None = None
    user: float | None = None
    system: float | None = None
    max_rss: int | None = None
    memory_peak: int | None = None


class Status:
    """The reading end of one launch's `--status-fd`."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._rest = b""
        self._reader: threading.Thread | None = None
        self._lock = threading.Lock()
        self._events: dict[str, bytes] = {}
        """The last line of each event, by its name; parsed when it is asked for."""

    def feed(self, data: bytes) -> None:
        """Take in what was read."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            name = line.partition(b'"event": "')[2].partition(b'"')[0]
            self._events[name.decode("ascii", "replace")] = line

    def is_decided(self) -> bool:
        """Whether the command runs, or never will."""
        return any(name in self._events for name in ("exec", "error"))

    def read(self) -> bool:
        """Take in what there is; False once it is decided, or nobody is left to tell."""
        try:
            data = os.read(self.fd, _CHUNK)
        except BlockingIOError:
            return True
        self.feed(data)
        return bool(data) and not self.is_decided()

    def is_heard(self) -> bool:
        """Whether somebody may still write events: with the caller's own end closed, whether a launcher was started."""
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        return not any(events & select.POLLHUP for _, events in poll.poll(0))

    def wait(self, pid: int) -> None:
        """Block until it is decided, or the launcher `pid`, a child of this process, has ended.

        The end of the pipe does not tell that alone: a process that another thread forked may hold it open.
        """
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        while True:
            if poll.poll(_LOOK_MS):
                if not self.read():
                    return
            elif _has_ended(pid):
                self._read_rest()
                return

    def keep_reading(self) -> None:
        """Read by a thread of its own what may be more than a pipe holds."""
        self._reader = threading.Thread(target=self._drain, name="sandrun-status", daemon=True)
        self._reader.start()

    def _drain(self) -> None:
        while data := os.read(self.fd, _CHUNK):
            self.feed(data)

    def finish(self) -> None:
        """Read what is left once the launcher has ended, and close. Helpers of it may live on, so nothing waits long."""
        with self._lock:
            if self.fd < 0:
                return
            if self._reader:
                self._reader.join(_HELPER_SECONDS)
                if self._reader.is_alive():
                    return  # it reads from the descriptor
            self._read_rest()
            self.close()

    def _read_rest(self) -> None:
        os.set_blocking(self.fd, False)
        try:
            while data := os.read(self.fd, _CHUNK):
                self.feed(data)
        except BlockingIOError:
            return

    def close(self) -> None:
        """Close the descriptor; more than once is fine."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __del__(self) -> None:
        self.close()

    def event(self, name: str) -> dict[str, Any]:
        """The event of this name; {} if there was none, or what was sent is no JSON object."""
        try:
            found = json.loads(self._events.get(name, b"{}"))
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    def warnings(self) -> tuple[str, ...]:
        """What the command line would have warned of before the command started."""
        return tuple(map(str, self.event("planned").get("warnings") or ()))

    @property
    def started(self) -> bool:
        """Whether the command ran."""
        return "exec" in self._events

    @property
    def ended(self) -> bool:
        """Whether the launcher has told how the command ended."""
        return "exit" in self._events

    def returncode(self, status: int) -> int:
        """The command's exit status as subprocess has it; `status` is the launcher's own.

        That is 0 where somebody else has waited for the launcher, or nobody can (SIGCHLD is ignored), as in subprocess.
        """
        event = self.event("exit")
        signal, told = event.get("signal"), event.get("status")
        if isinstance(signal, int) and signal and event.get("how") != "timeout":
            return -signal
        return status or (told if isinstance(told, int) else 0)

    def has_reported(self) -> bool:
        """Whether the launcher put its report in place: what lies there else may be the command's."""
        return self.event("report").get("written") is True

    def command_pid(self) -> int | None:
        """The command's process id."""
        pid = self.event("exec").get("pid")
        return pid if isinstance(pid, int) else None

    def ending(self) -> str:
        """How the command ended: "exited", "signalled", "timeout", or "lost" if nobody told."""
        if not self.ended:
            return "lost"
        event = self.event("exit")
        if event.get("how") == "timeout":
            return "timeout"
        return "signalled" if event.get("signal") else "exited"

    def enforcement(self) -> tuple[Enforcement, ...]:
        """What the plan enforces; () where the launcher did not say."""
        found = self.event("planned").get("enforcement") or ()
        return tuple(
            Enforcement(
                str(one.get("key", "")),
                str(one.get("state", "")),
                *(tuple(map(str, one.get(name) or ())) for name in ("mechanisms", "requested", "lost", "notes")),
            )
            for one in found
            if isinstance(one, dict)
        )

    def denials(self) -> tuple[Denial, ...] | None:
        """What the run was refused; None where nobody watched."""
        told = self.event("explained").get("explained")
        if not isinstance(told, dict):
            return None
        found = []
        for finding in told.get("findings") or ():
            remedy = finding.get("remedy") or {}
            words = remedy.get("flag") or remedy.get("toml") or remedy.get("text") or ""
            for one in finding.get("denials") or ():
                act, target, what, reason = (str(one.get(name) or "") for name in ("act", "target", "what", "reason"))
                standing, times = str(finding.get("standing") or ""), int(one.get("times") or 1)
                found.append(Denial(act, target, what, reason, str(words), standing, times, one))
        return tuple(found)

    def resources(self) -> Resources:
        """What the run used."""
        ended = self.event("exit")
        group = ended.get("resources") or {}
        peak = ended.get("memory_peak", group.get("memory_peak"))
        return Resources(ended.get("wall"), ended.get("user"), ended.get("system"), ended.get("max_rss"), peak)

    def error(self, status: int) -> SandrunError:
        """Why the command did not run; `status` is the launcher's own, for one that ended without a word."""
        event = self.event("error")
        lines = event.get("lines") or ([event["message"]] if event.get("message") else [])
        if not lines:
            how = f"signal {-status}" if status < 0 else f"status {status}"
            hint = "what it had to say is on standard error"
            return SandrunError(f"the launcher ended before the command was started: {how}", hint=hint)
        told = event.get("status")
        return rebuilt(str(event.get("kind", "")), list(map(str, lines)), told if isinstance(told, int) else status)


def rebuilt(kind: str, lines: list[str], status: int) -> SandrunError:
    """The error that these lines were printed for."""
    problems: list[Problem] = []
    for line in lines:
        if line.startswith(_HINT) and problems:
            problems[-1].hint = line.removeprefix(_HINT)
        else:
            problems.append(Problem("", line))
    message = "; ".join(problem.message for problem in problems)
    hint = problems[-1].hint if problems else None
    if status in (EXIT_CANNOT_EXECUTE, EXIT_NOT_FOUND):
        return CommandError(message, status=status, hint=hint)
    if kind == "profile":
        return ProfileError(problems)
    if kind == "unsupported":
        return UnsupportedError(problems)
    error = UsageError(message, hint=hint) if kind == "usage" else SandrunError(message, hint=hint)
    if status != EXIT_SANDRUN:
        error.status = status
    return error


class Told:
    """What a running or ended command has from its launcher, by its `Status`."""

    _status: Status

    @property
    def enforcement(self) -> tuple[Enforcement, ...]:
        """What is enforced on the command, and by what."""
        return self._status.enforcement()

    @property
    def resources(self) -> Resources:
        """What the run used, once it is over."""
        return self._status.resources()

    @property
    def denials(self) -> tuple[Denial, ...] | None:
        """What the command was refused, once it is over; None without `explain=True`."""
        return self._status.denials()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the command line would have warned of: protections that may be lost, and are."""
        return self._status.warnings()

    @property
    def command_pid(self) -> int | None:
        """The process id of the command itself, as this process sees it."""
        return self._status.command_pid()
