"""Ids of the caller's sub-ranges in a user namespace, which newuidmap(1) and newgidmap(1) write for it.

LIGHT. Nobody may map ids of others but a helper that looks into subuid(5) and subgid(5) whose they are. The process in
the new namespace asks by the error pipe and waits; its parent, which is outside and may start set-user-ID programs, runs
the helpers and answers.
"""

from __future__ import annotations

import errno
import os

from sandrun import libc
from sandrun.errors import StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sandrun.plan.format import Plan

STEP = "map ids"
_HINT = (
    "it must be set-user-ID root or hold CAP_SETUID or CAP_SETGID, the ranges must be the caller's, and sandrun itself "
    "must run without no_new_privs"
)
_MOST_WORDS = 4096


class Asking:
    """The pipe on which the process in the namespace waits for the answer of its parent."""

    __slots__ = ("reader", "writer")

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe2(os.O_CLOEXEC)

    def ask(self, error_fd: int, request: bytes) -> None:
        """In the child: send the request, and return when the ids are mapped. Raises OSError if they never will be.

        The helpers go by the owner of /proc/PID, which is root for a process that is not dumpable.
        """
        os.close(self.writer)  # so that the death of the parent is heard
        libc.prctl(libc.PR_SET_DUMPABLE, 1)
        try:
            os.write(error_fd, request)
            if not os.read(self.reader, 1):
                raise ProcessLookupError(errno.ESRCH, "the supervisor is gone")
        finally:
            libc.prctl(libc.PR_SET_DUMPABLE, 0)


def answer(plan: Plan, pid: int, writer: int) -> None:
    """In the parent: map the ids of the child that asked, and let it go on. Raises StepError."""
    for helper, lines in zip(plan.id_helpers, (plan.uid_map, plan.gid_map), strict=True):
        try:
            why = _run(helper, (helper, b"%d" % pid, *lines.split()))
        except OSError as error:
            why = libc.strerror(error.errno or 0)
        if why:
            raise StepError(STEP, 0, f"cannot {STEP}: {os.fsdecode(helper)}: {why}", hint=_HINT)
    os.write(writer, b".")


def _run(path: bytes, argv: tuple[bytes, ...]) -> str:
    """Run a program with an empty environment until it ends; "" if it succeeds, else the last line that it said."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        files = (
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDWR, 0),
            (os.POSIX_SPAWN_DUP2, 0, 1),
            (os.POSIX_SPAWN_DUP2, writer, 2),
        )
        # All signals are blocked here. It may ask a name service over the network, so let it be interrupted.
        pid = os.posix_spawn(path, argv, {}, file_actions=files, setsigmask=())
        os.close(writer)
        writer = -1
        said = b""
        while len(said) < _MOST_WORDS and (more := os.read(reader, _MOST_WORDS)):
            said += more
    finally:
        for fd in (reader, writer):
            if fd >= 0:
                os.close(fd)
    status = os.waitpid(pid, 0)[1]
    if not status:
        return ""
    lines = said.decode(errors="replace").strip().splitlines()
    name = os.fsdecode(os.path.basename(path))
    return lines[-1].removeprefix(name + ": ") if lines else f"it ended with {os.waitstatus_to_exitcode(status)}"
