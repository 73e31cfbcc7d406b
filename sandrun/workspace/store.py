"""Where workspaces live, and what is known of each.

`$XDG_STATE_HOME/sandrun/workspaces/ID/`, else `~/.local/state/…`, for root `/var/lib/…`, closed to everybody else:

    about.json   the facts of `Workspace`
    lock         held (flock(2)) while a run or a verb uses the workspace
    upper/N      what the command changed below directory number N: the upper directory of overlayfs
    work/N       overlayfs's own, only during the run
    modes        see `tree.Upper`
    journalN     only while a commit is unfinished, see `commit`

Nothing here is ever inside a tree that is overlaid, and no command may be granted it: who can write it decides where a
commit writes.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import stat
import time
from typing import TYPE_CHECKING, NamedTuple

from sandrun import libc
from sandrun.errors import SandrunError
from sandrun.primitives import private
from sandrun.workspace import site
from sandrun.workspace.copy import attributes, take_over
from sandrun.workspace.tree import Tree, Upper

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

VERSION = 1
RUNNING, KEPT, INTERRUPTED = "running", "kept", "interrupted"
"""The states: a command works in it; it ended, or its supervisor did not live to see the end; see `state`."""
_ID = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{6}")
UNFINISHED, REMOVED = ".new-", ".removed-"
"""Before an id: what is not yet, or no longer, a workspace. Whoever makes or removes one may be killed on the way."""
_CLOCK_REALTIME_COARSE = 5
"""clock_gettime(2); the clock of time stamps in files."""


class Workspace(NamedTuple):
    """One workspace. `path` is its directory, `directories` what is overlaid, in the order of `upper/N`."""

    id: str
    path: str
    directories: tuple[str, ...]
    inodes: tuple[int, ...]
    """Of the directories: each is still the same one."""
    command: tuple[str, ...]
    uid: int
    """Whose workspace it is: the caller, not the user that the command ran as."""
    started: int
    """Nanoseconds since the epoch; whatever in the directories has a later ctime was changed since."""
    ended: int = 0
    """The same, 0 while the command runs."""
    status: int = -1
    """The exit status of the run, -1 if it is not known."""
    size_limit: int = 0
    """A commit refuses more bytes than this; 0 is no limit."""
    mount_options: tuple[str, ...] = ("userxattr",)

    @property
    def overlays(self) -> tuple[tuple[bytes, bytes], ...]:
        """The (upper, work) directories of each overlay, for the view."""
        return tuple(
            (os.fsencode(f"{self.path}/upper/{number}"), os.fsencode(f"{self.path}/work/{number}"))
            for number in range(len(self.directories))
        )

    def lower(self, number: int) -> Tree:
        """Directory `number` itself. Raises OSError, SandrunError if another one stands in its place by now."""
        path = self.directories[number]
        fd = libc.openat2(
            os.fsencode(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, resolve=libc.RESOLVE_NO_SYMLINKS
        )
        if os.fstat(fd).st_ino != self.inodes[number]:
            os.close(fd)
            raise SandrunError(
                f"cannot use workspace {self.id}: {path}: it is another directory than at the start",
                hint="put the directory back where it was",
            )
        return Tree(fd)

    def upper(self, number: int) -> Upper:
        """What was changed below directory `number`. Raises OSError."""
        return Upper(f"{self.path}/upper/{number}", f"{self.path}/modes")


def state(workspace: Workspace) -> str:
    """Whether a command runs in it now, ended in it, or was lost sight of."""
    if workspace.ended:
        return KEPT
    try:
        with locked(workspace):
            return INTERRUPTED
    except BlockingIOError:
        return RUNNING


# --- making one ----------------------------------------------------------------------------------------------------


def make(directories: Sequence[str], command: Sequence[str], size_limit: int = 0) -> tuple[Workspace, int]:
    """A new workspace for canonical directories, and the descriptor that locks it until it is closed.

    Raises SandrunError if there is no place that can hold one; nothing is left then.
    """
    # The clock first: what is changed from here on counts as changed during the run.
    started = time.time_ns()
    base = site.make()
    site.check(base, directories)
    name = time.strftime("%Y%m%d-%H%M%S-", time.gmtime(started // 10**9)) + os.urandom(3).hex()
    path, unfinished = os.path.join(base, name), os.path.join(base, UNFINISHED + name)
    made, lock = False, -1
    try:
        inodes = tuple(os.stat(place).st_ino for place in directories)
        with _making(base, fcntl.LOCK_EX):
            os.mkdir(unfinished, 0o700)
            made = True
            workspace = Workspace(
                name,
                unfinished,
                tuple(directories),
                inodes,
                tuple(command),
                os.geteuid(),
                started,
                size_limit=size_limit,
            )
            lock = _lock(workspace)
            for kind in ("upper", "work"):
                os.mkdir(f"{unfinished}/{kind}", 0o700)
            for number, place in enumerate(directories):
                os.mkdir(f"{unfinished}/work/{number}", 0o700)
                _make_upper(f"{unfinished}/upper/{number}", place)
            save(workspace)
            os.rename(unfinished, path)
            workspace = workspace._replace(path=path)
    except OSError as error:
        if lock >= 0:
            os.close(lock)
        if made:
            private.remove(os.fsencode(unfinished))
        why = libc.strerror(error.errno or 0)
        hint = site.ELSEWHERE if error.errno in (errno.ENOTSUP, errno.EROFS, errno.EACCES, errno.EPERM) else None
        raise SandrunError(f"cannot make a workspace: {error.filename or path}: {why}", hint=hint) from None
    return workspace, lock


def _make_upper(path: str, lower: str) -> None:
    """The upper directory becomes the top of what the command sees: it looks like the lower one."""
    found = os.stat(lower)
    os.mkdir(path, 0o700)
    # Without user.* attributes overlayfs could not say that a directory replaced another one.
    os.setxattr(path, "user.sandrun", b"")
    os.removexattr(path, "user.sandrun")
    if not os.geteuid():
        os.chown(path, found.st_uid, found.st_gid)
    with contextlib.suppress(PermissionError):  # a directory that may not be read has nothing to compare either
        take_over(attributes(lower), path, 0o700)
    os.chmod(path, stat.S_IMODE(found.st_mode))
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def await_clock(workspace: Workspace) -> None:
    """Wait until every change from now on gets a ctime later than the start: files are stamped by a coarser clock.

    That takes a tick, at most 10 ms. A clock that is set back meanwhile, or during the run, makes changes look older.
    """
    deadline = time.monotonic() + 0.1
    while time.clock_gettime_ns(_CLOCK_REALTIME_COARSE) <= workspace.started and time.monotonic() < deadline:
        time.sleep(0.0005)


# --- finding, locking, removing --------------------------------------------------------------------------------------


def save(workspace: Workspace) -> None:
    """Write the facts, all or nothing."""
    facts = {"sandrun": VERSION, **workspace._asdict()}
    del facts["path"]
    temporary = f"{workspace.path}/about.new"
    with open(temporary, "w", encoding="ascii") as file:
        json.dump(facts, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    os.rename(temporary, f"{workspace.path}/about.json")


def load(name: str) -> Workspace:
    """The workspace with this id. Raises SandrunError."""
    path = os.path.join(site.trusted(), name)
    # The id is a word of the command line: one with a slash would be a path.
    if not _ID.fullmatch(name) or not os.path.isdir(path):
        raise SandrunError(f"no such workspace: {name}", hint="sandrun workspace list shows those there are")
    try:
        with open(f"{path}/about.json", encoding="ascii") as file:
            facts = json.load(file)
        if facts.pop("sandrun") != VERSION:
            raise SandrunError(f"cannot use workspace {name}: made by another version of sandrun")
        lists = {key: tuple(value) for key, value in facts.items() if isinstance(value, list)}
        return Workspace(**{**facts, **lists, "path": path})
    except OSError as error:
        raise SandrunError(f"cannot read workspace {name}: {libc.strerror(error.errno or 0)}") from None
    except (ValueError, TypeError, KeyError):
        raise SandrunError(
            f"cannot read workspace {name}: its facts are damaged", hint=f"what it holds is in {path}"
        ) from None


def ids() -> list[str]:
    """The ids of all workspaces of this user, the newest first."""
    base = site.trusted()
    try:
        return sorted(filter(_ID.fullmatch, os.listdir(base)), reverse=True)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise SandrunError(f"cannot list workspaces: {base}: {libc.strerror(error.errno or 0)}") from None


def _lock(workspace: Workspace) -> int:
    fd = os.open(f"{workspace.path}/lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise
    return fd


@contextlib.contextmanager
def locked(workspace: Workspace) -> Iterator[None]:
    """Nobody else uses the workspace meanwhile. Raises BlockingIOError if somebody does."""
    fd = _lock(workspace)
    try:
        yield
    finally:
        os.close(fd)


def remove_work(workspace: Workspace) -> None:
    """Remove what overlayfs kept for itself, a directory of mode 000 among it."""
    number = private.remove(os.fsencode(f"{workspace.path}/work"))
    if number:
        raise SandrunError(f"cannot remove: {workspace.path}/work: {libc.strerror(number)}")


def remove(workspace: Workspace) -> None:
    """Remove a workspace with all it holds. Raises SandrunError."""
    # First under a name that nobody takes for a workspace: half of one must never be committed.
    gone = os.path.join(os.path.dirname(workspace.path), REMOVED + workspace.id)
    try:
        os.rename(workspace.path, gone)
    except FileNotFoundError:
        return
    except OSError as error:
        raise SandrunError(f"cannot remove: {workspace.path}: {libc.strerror(error.errno or 0)}") from None
    number = private.remove(os.fsencode(gone))
    if number:
        raise SandrunError(f"cannot remove: {gone}: {libc.strerror(number)}")


def remove_leftovers() -> None:
    """Remove what interrupted launches and removals left."""
    base = site.trusted()
    with contextlib.suppress(OSError):
        _remove_all(base, REMOVED)
        with _making(base, fcntl.LOCK_EX | fcntl.LOCK_NB):
            _remove_all(base, UNFINISHED)


def _remove_all(base: str, prefix: str) -> None:
    for name in os.listdir(base):
        if name.startswith(prefix) and _ID.fullmatch(name.removeprefix(prefix)):
            private.remove(os.fsencode(os.path.join(base, name)))


@contextlib.contextmanager
def _making(base: str, how: int) -> Iterator[None]:
    """Nobody else makes a workspace meanwhile, so an unfinished one is nobody's. Raises OSError."""
    fd = os.open(base, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, how)
        yield
    finally:
        os.close(fd)


def ended(workspace: Workspace, status: int) -> Workspace:
    """The command ended with this status: drop what overlayfs needed and write it down. Raises SandrunError."""
    remove_work(workspace)
    workspace = workspace._replace(ended=time.time_ns(), status=status)
    try:
        save(workspace)
    except OSError as error:
        raise SandrunError(f"cannot write: {workspace.path}: {libc.strerror(error.errno or 0)}") from None
    return workspace
