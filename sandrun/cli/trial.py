"""Launches of a command under one profile after another, several at a time, each by a process of its own.

Each is a whole launch, from the plan to the end of all that the command left behind. Nothing that it prints is shown,
and it has neither input nor terminal.
"""

from __future__ import annotations

import os
import signal
import time
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

GRACE = 5.0
"""Seconds from asking a launch to end to ending it."""


def check(profile: Profile, command: Sequence[str]) -> None:
    """Say what a launch would warn of. Raises SandrunError if there can be none."""
    resolution = runs.prepare(Request(), command, profile=profile).resolution
    report.warn([*resolution.warnings, *report.not_enforced(resolution.enforcement)])


def limited(profile: Profile, seconds: float) -> Profile:
    """The profile with this timeout, unless it has a shorter one."""
    own = profile.scalar("time.timeout")
    if not seconds or (own and isinstance(own.value, int | float) and own.value <= seconds):
        return profile
    flag = ("time.timeout", f"{max(1, round(seconds * 1000))}ms", "--timeout")
    return merge(profile, read_flags([flag])[0])


def statuses(profiles: Iterable[Profile], command: Sequence[str], seconds: float = 0) -> list[int]:
    """The exit status of the command under each profile, all at the same time; `seconds` 0 is no timeout.

    A status is what `sandrun` would have exited with. Raises SandrunError if no process can be made.
    """
    running: list[int] = []
    try:
        running += (_start(limited(profile, seconds), command) for profile in profiles)
        found = []
        while running:
            found.append(os.waitstatus_to_exitcode(os.waitpid(running[0], 0)[1]))
            del running[0]
        return found
    except OSError as error:
        raise SandrunError(f"cannot run the test: {report.reason(error)}") from None
    finally:
        _end(running)


def _start(profile: Profile, command: Sequence[str]) -> int:
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    status = EXIT_SANDRUN
    try:
        # The launch ends its command when it gets this, so nothing runs on if this verb is killed.
        libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() == parent:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.setsid()
            null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
            for fd in range(3):
                os.dup2(null, fd)
            request = Request(command=tuple(command), on_exit="discard", quiet=True)
            status = runs.run(request, Record(request), profile)
    except SandrunError as error:
        status = error.status
    finally:
        os._exit(status)


def _end(running: Sequence[int]) -> None:
    """End these launches: by a signal that they pass on, then by force."""
    for number, until in ((signal.SIGTERM, time.monotonic() + GRACE), (signal.SIGKILL, time.monotonic() + 2 * GRACE)):
        left = [pid for pid in running if os.waitpid(pid, os.WNOHANG)[0] == 0]
        for pid in left:
            os.kill(pid, number)
        while left and time.monotonic() < until:
            time.sleep(0.02)
            left = [pid for pid in left if os.waitpid(pid, os.WNOHANG)[0] == 0]
        running = left
