"""The guardian: a process that removes the command's control group if the supervisor is killed before it could.

LIGHT. The kernel kills the command when the supervisor dies (PDEATHSIG), not what the command started. Where the command
has a control group, the guardian stands outside of it, sees the supervisor's end on a pidfd, and ends the group.

It is a child that waitid(2) does not count, because its exit signal is none (`__WALL`); it has a session of its own, so
that a SIGKILL to the caller's process group misses it, all signals blocked, and is non-dumpable like the supervisor. It
is started before the supervisor enters a Landlock domain, where its kill(-1) would find it.
"""

from __future__ import annotations

import os
import select

from sandrun import libc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from sandrun.primitives.cgroup import Group

_WALL = 0x40000000
"""waitid(2): children of every exit signal."""
_LAST_FD = 2**32 - 1


class Guardian:
    """The running guardian of a group: its process id, and the descriptor by which it is told that it may go."""

    __slots__ = ("dismissal", "pid")

    def __init__(self, pid: int, dismissal: int) -> None:
        self.pid = pid
        self.dismissal = dismissal

    def dismiss(self) -> None:
        """Let it go, and reap it. One that was killed is left a zombie, which ends with us."""
        try:
            os.write(self.dismissal, b"!")
            os.waitid(os.P_PID, self.pid, os.WEXITED | _WALL)
        except (BrokenPipeError, ChildProcessError):
            return
        finally:
            os.close(self.dismissal)


def guard(group: Group) -> None:
    """Start a guardian for the group. Call it in the supervisor, with all signals blocked.

    Raises OSError, with the group removed.
    """
    reader, writer = os.pipe2(os.O_CLOEXEC)
    supervisor = os.pidfd_open(os.getpid())
    try:
        pid = libc.clone(0)
        if not pid:
            _guard(group, supervisor, reader)
    except OSError:
        os.close(writer)
        group.remove()
        raise
    finally:
        os.close(reader)
        os.close(supervisor)
    group.guardian = Guardian(pid, writer)


def _guard(group: Group, supervisor: int, dismissal: int) -> NoReturn:
    try:
        os.setsid()
        os.chdir("/")
        _close_all_but(supervisor, dismissal, *group.locks)
        group.joins = []
        poll = select.poll()
        poll.register(supervisor, select.POLLIN)
        poll.register(dismissal, select.POLLIN)
        while True:
            ready = dict(poll.poll())
            if ready.get(dismissal, 0) & select.POLLIN:
                break
            if supervisor in ready:
                group.remove()
                break
            poll.unregister(dismissal)  # the writer's end alone is closed: the supervisor's pidfd will follow
    finally:
        os._exit(0)


def _close_all_but(*kept: int) -> None:
    start = 0
    for fd in sorted(kept):
        if fd > start:
            libc.close_range(start, fd - 1)
        start = fd + 1
    libc.close_range(start, _LAST_FD)
