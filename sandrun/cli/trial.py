"""Launches of a command under one profile after another, several at a time, each by a process of its own.

Each is a whole launch, from the plan to the end of all that the command left behind. Nothing that it prints is shown,
and it has neither input nor terminal.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING

# What a launch imports: here once, so that not every process has to.
from sandrun import launch as _launch  # noqa: F401
from sandrun import libc, report
from sandrun import supervise as _supervise  # noqa: F401
from sandrun.cli import run as runs
from sandrun.cli.options import Request
from sandrun.cli.record import Record
from sandrun.errors import EXIT_SANDRUN, SandrunError
from sandrun.profile.layer import read_flags
from sandrun.profile.merge import merge

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sandrun.profile.model import Profile

GRACE = 3.0
"""Seconds that a launch has to end after each of the ways in which it is ended."""
MOST_ERRORS = 1 << 16


def limited(profile: Profile, seconds: float) -> Profile:
    """The profile with this timeout, unless it has a shorter one."""
    own = profile.scalar("time.timeout")
    if not seconds or (own and isinstance(own.value, int | float) and own.value <= seconds):
        return profile
    flag = ("time.timeout", f"{max(1, round(seconds * 1000))}ms", "--timeout")
    return merge(profile, read_flags([flag])[0])


def first(profile: Profile, command: Sequence[str], seconds: float = 0) -> tuple[int, list[str]]:
    """The exit status of the command under one profile, and if there was no launch the lines that say why.

    Raises SandrunError if no process can be made.
    """
    errors = os.memfd_create("errors")
    try:
        status = statuses([profile], command, seconds, errors)[0]
        return status, os.pread(errors, MOST_ERRORS, 0).decode().splitlines()
    finally:
        os.close(errors)


def statuses(profiles: Iterable[Profile], command: Sequence[str], seconds: float = 0, errors: int = -1) -> list[int]:
    """The exit status of the command under each profile, all at the same time; `seconds` 0 is no timeout.

    A status is what `sandrun` would have exited with. Why there was no launch is written to the file `errors`.
    Raises SandrunError if no process can be made.
    """
    running: list[int] = []
    try:
        running += (_start(limited(profile, seconds), command, errors) for profile in profiles)
        found = []
        while running:
            found.append(os.waitstatus_to_exitcode(os.waitpid(running[0], 0)[1]))
            del running[0]
        return found
    except OSError as error:
        raise SandrunError(f"cannot run the test: {report.reason(error)}") from None
    finally:
        _end(running)


def _start(profile: Profile, command: Sequence[str], errors: int) -> int:
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    status = EXIT_SANDRUN
    try:
        # The launch ends with this process, and its command with the launch, as if sandrun itself was killed.
        libc.die_with(parent)
        os.setsid()
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        for fd in range(3):
            os.dup2(null, fd)
        request = Request(command=tuple(command), on_exit="discard", quiet=True)
        status = runs.run(request, Record(request), profile)
    except SandrunError as error:
        status = error.status
        if errors >= 0:
            os.write(errors, "\n".join(map(report.printable, error.lines())).encode())
    finally:
        os._exit(status)


def _end(running: Sequence[int]) -> None:
    """End these launches: by a signal that they pass on; by the end of their commands, after which they clear away all
    that is left; and at last by force.
    """
    for stage in (_ask, _end_commands, _kill):
        for pid in running:
            with suppress(ProcessLookupError):
                stage(pid)
        end = time.monotonic() + GRACE
        while (running := [pid for pid in running if not _has_ended(pid)]) and time.monotonic() < end:
            time.sleep(0.02)


def _has_ended(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return True  # an interrupt came between its end and the note of it


def _ask(pid: int) -> None:
    os.kill(pid, signal.SIGTERM)


def _end_commands(pid: int) -> None:
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            children = file.read().split()
        for child in children:
            os.kill(int(child), signal.SIGKILL)
    except OSError:
        return  # gone meanwhile, or another user's


def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
