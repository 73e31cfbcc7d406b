"""Putting staged changes in place, a batch at a time: durable first, then renamed, then forgotten above. See `commit`."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from sandrun import libc
from sandrun.primitives import private
from sandrun.workspace import diff
from sandrun.workspace.tree import join, lstat

if TYPE_CHECKING:
    from sandrun.workspace.store import Workspace
    from sandrun.workspace.tree import Tree, Upper

CHANGED, APPEARED = "changed since the start", "appeared since the start"
REMOVED = "perhaps removed since the start"


_OPS = 256
"""Changes that become durable at once; one by one each would cost a flush of the disk."""
_PLACES = 64
"""Directories that are held open for it, each with two descriptors."""
_BYTES = 64 << 20


class Left(NamedTuple):
    """Something that was not committed: the path in its directory, and why."""

    directory: str
    path: str
    why: str


class RefusedError(Exception):
    """This change is not committed; the message is why."""


class Place:
    """One directory, above and below, and what is staged in it: freed when nothing is."""

    __slots__ = ("above", "below", "inode", "is_changed", "path")

    def __init__(self, path: str, above: int, below: int, *, since: int, touched: set[int]) -> None:
        self.path, self.above, self.below = path, above, below
        found = os.fstat(below)
        self.inode = found.st_ino
        self.is_changed = diff.changed_since(found, since) and found.st_ino not in touched
        """Somebody else made or removed something in it since the start."""

    def close(self) -> None:
        os.close(self.above)
        os.close(self.below)


class Op(NamedTuple):
    """One change that waits for its batch. Without `temporary` the name is deleted, or only leaves the upper tree."""

    place: Place
    name: str
    below: os.stat_result | None
    temporary: str = ""
    is_done: bool = False
    """Nothing is to be done below."""


class Leave(NamedTuple):
    """The end of a directory: its mode, for a new one its times too, then its removal from the upper tree if empty."""

    path: str
    mode: int
    times: tuple[int, int] | None


class Journal:
    """The inodes whose ctime changes by our own doing: directories, and files with other names."""

    def __init__(self, workspace: Workspace) -> None:
        self.path = f"{workspace.path}/journal"
        self.touched: set[int] = set()
        try:
            with open(self.path, "rb") as file:
                # A line that a crash cut short has no end, and nothing relied on it.
                self.touched.update(int(line[:-1]) for line in file.read().split(b"\n") if line.endswith(b"."))
        except FileNotFoundError:
            return

    def touch(self, inodes: set[int]) -> None:
        """Remember these before they change."""
        if not (inodes := inodes - self.touched):
            return
        self.touched |= inodes
        with open(self.path, "ab") as file:
            file.write(b"\n" + b"".join(b"%d.\n" % inode for inode in inodes))
            file.flush()
            os.fsync(file.fileno())

    def end(self) -> None:
        """The commit went to its end. What was refused starts anew the next time."""
        if os.path.exists(self.path):
            os.unlink(self.path)


class Batch:
    """What is staged in one overlaid directory, and what became of it so far."""

    def __init__(self, workspace: Workspace, directory: str, upper: Upper, lower: Tree, journal: Journal) -> None:
        self.directory, self.upper, self.lower, self.journal = directory, upper, lower, journal
        self.prefix = f".sandrun-{workspace.id}-"
        self.number = 0
        self.committed = 0
        self.refused: list[Left] = []
        self.ops: list[Op | Leave] = []
        self.places: list[Place] = []
        self.bytes = 0

    def is_full(self) -> bool:
        """Whether it is time to flush."""
        return len(self.ops) >= _OPS or len(self.places) >= _PLACES or self.bytes >= _BYTES

    def temporary(self) -> str:
        """A name that nothing has yet in any directory."""
        self.number += 1
        return f"{self.prefix}{os.getpid()}-{self.number}"

    def flush(self, keep: Place | None = None) -> None:
        """Do what is staged: make it durable, put it in place, make that durable, then forget it above."""
        ops = [op for op in self.ops if isinstance(op, Op)]
        leaves = [op for op in self.ops if isinstance(op, Leave)]
        self.ops, self.bytes = [], 0
        todo = [op for op in ops if not op.is_done]
        if todo:
            libc.syncfs(todo[0].place.below)
            linked = {op.below.st_ino for op in todo if op.below is not None and op.below.st_nlink > 1}
            self.journal.touch(linked | {op.place.inode for op in todo if not op.place.is_changed})
        done = [op for op in ops if op.is_done or self._do(op)]
        for leave in leaves:
            self._end_directory(leave)
        if todo or leaves:
            self._sync()
        for op in done:
            os.unlink(op.name, dir_fd=op.place.above)
        for leave in leaves:
            self._forget_directory(leave)
        self.close_places(keep)

    def _do(self, op: Op) -> bool:
        """Put one change in place; False if it was refused."""
        try:
            self._check_again(op)
            if op.temporary:
                self._replace(op)
            elif op.below is not None and stat.S_ISDIR(op.below.st_mode):
                temporary = self.temporary()
                os.rename(op.name, temporary, src_dir_fd=op.place.below, dst_dir_fd=op.place.below)
                self.clear(op.place, temporary)
            else:
                os.unlink(op.name, dir_fd=op.place.below)
        except (OSError, RefusedError) as error:
            if op.temporary and lstat(op.temporary, op.place.below) is not None:
                os.unlink(op.temporary, dir_fd=op.place.below)
            why = reason(error) if isinstance(error, OSError) else str(error)
            self.refuse(join(op.place.path, op.name), why)
            return False
        self.committed += 1
        return True

    def _check_again(self, op: Op) -> None:
        now = lstat(op.name, op.place.below)
        if op.below is None or now is None:
            if now is not op.below:
                raise RefusedError(REMOVED if now is None else APPEARED)
        elif now.st_ino != op.below.st_ino or (
            now.st_ctime_ns != op.below.st_ctime_ns and now.st_ino not in self.journal.touched
        ):
            raise RefusedError(CHANGED)

    def _replace(self, op: Op) -> None:
        if op.below is not None and stat.S_ISDIR(op.below.st_mode):
            self.exchange(op.place, op.name, op.temporary)
        elif op.below is not None:
            os.rename(op.temporary, op.name, src_dir_fd=op.place.below, dst_dir_fd=op.place.below)
        else:
            here = op.place.below
            libc.renameat2(here, os.fsencode(op.temporary), here, os.fsencode(op.name), libc.RENAME_NOREPLACE)

    def exchange(self, place: Place, name: str, temporary: str) -> None:
        """Put `temporary` in the place of `name`, and remove what was there."""
        here = place.below
        libc.renameat2(here, os.fsencode(temporary), here, os.fsencode(name), libc.RENAME_EXCHANGE)
        self.clear(place, temporary)

    @staticmethod
    def clear(place: Place, name: str) -> None:
        try:
            os.unlink(name, dir_fd=place.below)
        except IsADirectoryError:
            number = private.remove(b"/proc/self/fd/%d/./%s" % (place.below, os.fsencode(name)))
            if number:
                raise OSError(number, os.strerror(number), name) from None

    def _end_directory(self, leave: Leave) -> None:
        """Give a directory its mode, and a new one its times."""
        try:
            pinned = self.lower.pin(leave.path)
        except OSError as error:
            self.refuse(leave.path, reason(error))
            return
        try:
            found = os.fstat(pinned)
            here = f"/proc/self/fd/{pinned}"
            inherited = found.st_mode & stat.S_ISGID if leave.times else 0
            if stat.S_IMODE(found.st_mode) != leave.mode | inherited:
                os.chmod(here, leave.mode | inherited)
                self.committed += not leave.times
            if leave.times:
                os.utime(here, ns=leave.times)
        except OSError as error:
            self.refuse(leave.path, reason(error))
        finally:
            os.close(pinned)

    def _forget_directory(self, leave: Leave) -> None:
        parent, _, name = leave.path.rpartition("/")
        if not name:
            return
        fd = self.upper.folder(parent)
        try:
            os.rmdir(name, dir_fd=fd)
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:  # what was refused stays
                raise
        finally:
            os.close(fd)

    def _sync(self) -> None:
        fd = self.lower.folder("")
        try:
            libc.syncfs(fd)
        finally:
            os.close(fd)

    def close_places(self, keep: Place | None = None) -> None:
        for place in self.places:
            if place is not keep:
                place.close()
        self.places = [keep] if keep else []

    def refuse(self, path: str, why: str) -> None:
        self.refused.append(Left(self.directory, path, why))


def reason(error: OSError) -> str:
    """Why something was refused, in words."""
    if error.errno == errno.EXDEV:
        return "a mount point is in the way"
    return libc.strerror(error.errno or 0)
