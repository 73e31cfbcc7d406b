"""A launch that nothing goes into and nothing comes out of, for a program whose threads are busy.

There each call that gives up the interpreter's lock waits for it again, a switch interval or more (sys.setswitchinterval),
and that is then most of what a launch costs. `subprocess.Popen` has six such calls. Here it is one, the wait for the end:
what cannot take time is called with the lock held, and events are left in a memfd, which is read once.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import select
import signal
from typing import TYPE_CHECKING

from sandrun import native
from sandrun.library import launcher

if TYPE_CHECKING:
    from sandrun.library.start import Start

END = signal.SIGALRM
"""As in sandrun/library/process.py."""
LAUNCHER_MS = 10_000
RESTORED = (signal.SIGPIPE, signal.SIGXFSZ)
"""What Python ignores, and programs do not expect to be ignored; as subprocess does."""


def serves(environment: object) -> bool:
    """Whether launches go through the native front, as far as can be told without asking the file system."""
    return environment is None and native.VARIABLE not in os.environ and hasattr(ctypes.pythonapi, "memfd_create")


def run(start: Start) -> tuple[int | None, bytes] | None:
    """Launch, and wait for the end: the launcher's status as `subprocess` has it (None: nobody knows), and all its events.

    None if there is no native front. Raises OSError, and what interrupts the wait once nothing is left.
    """
    events = _held("memfd_create", b"sandrun-events", os.MFD_CLOEXEC)
    if events < 0:
        events = os.memfd_create("sandrun-events")  # which says what is wrong
    try:
        if events <= launcher.STANDARD:
            return None  # this process has closed its own, and the launcher would put a device in the place
        kept = start.fds(events)
        words = start.words(events, launcher.front(kept))
        # From a descriptor to itself: it stays open in the child alone, whatever other threads start meanwhile.
        actions = [(os.POSIX_SPAWN_DUP2, fd, fd) for fd in kept]
        spawn = functools.partial(os.posix_spawn, file_actions=actions, setsigdef=RESTORED)
        pids: list[int] = []
        try:
            # In one step of the interpreter: an interrupt that comes meanwhile is raised once the process id is known.
            pids.extend(map(spawn, words[:1], [words], [os.environ]))
            return _ended(pids[0]), _content(events)
        except (FileNotFoundError, PermissionError):
            if not pids:
                return None
            raise
        except BaseException:
            for pid in pids:
                end(pid)
            raise
    finally:
        if _held("close", events) < 0:
            os.close(events)


def _ended(pid: int) -> int | None:
    try:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    except ChildProcessError:
        return None  # somebody else has waited for it, or the kernel, where SIGCHLD is ignored


def end(pid: int) -> None:
    """Have the launcher end the command and all that it started; kill it itself if it does not. 0 is none."""
    if not pid:
        return
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return  # it has been waited for
    try:
        os.kill(pid, END)
        os.kill(pid, signal.SIGCONT)  # a stopped launcher hears nothing
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        if not poll.poll(LAUNCHER_MS):
            os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)
    finally:
        os.close(handle)


def _content(fd: int) -> bytes:
    """All that is in a memfd."""
    size = _held("lseek", fd, ctypes.c_long(0), os.SEEK_END)
    room = ctypes.create_string_buffer(size)
    return room.raw if size > 0 and _held("pread", fd, room, ctypes.c_size_t(size), ctypes.c_long(0)) == size else b""


def _held(name: str, *arguments: object) -> int:
    """A function of libc, called with the interpreter's lock held; -1 if it fails."""
    function = ctypes.pythonapi[name]  # a new one each time, so that no type of it is anybody else's
    return int(function(*arguments))
