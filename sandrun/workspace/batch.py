"""Putting staged changes in place, a batch at a time: durable first, then renamed, then forgotten above. See `commit`."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING

from sandrun import libc
from sandrun.primitives import private
from sandrun.workspace import diff
from sandrun.workspace.copy import attributes, own, take_over
from sandrun.workspace.staged import APPEARED, CHANGED, EXCHANGED, REMOVED, Leave, Left, Op, Place, RefusedError
from sandrun.workspace.tree import join, lstat

if TYPE_CHECKING:
    from sandrun.workspace.journal import Journal
    from sandrun.workspace.store import Workspace
    from sandrun.workspace.tree import Tree, Upper

_OPS = 256
"""Changes that become durable at once; one by one each would cost a flush of the disk."""
_PLACES = 64
"""Directories that are held open for it, each with two descriptors."""
_BYTES = 64 << 20
_INSIDE = "new"
"""The name of a new directory in the temporary one that it is made in."""


class Batch:
    """What is staged in one overlaid directory, and what became of it so far."""

    def __init__(
        self, workspace: Workspace, directory: str, upper: Upper, lower: Tree, journal: Journal, *, force: bool
    ) -> None:
        self.directory, self.upper, self.lower, self.journal = directory, upper, lower, journal
        self.since, self.force = workspace.started, force
        self.prefix = f".sandrun-{workspace.id}-"
        self.number = 0
        self.committed = 0
        self._refused: dict[str, Left] = {}
        self.ops: list[Op | Leave] = []
        self.places: list[Place] = []
        self.bytes = 0

    @property
    def refused(self) -> tuple[Left, ...]:
        """What was not done, each path once."""
        return tuple(self._refused.values())

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
            going = {op.below.st_ino for op in todo if op.below is not None and stat.S_ISDIR(op.below.st_mode)}
            self.journal.touch(linked.union(*(op.place.own_doing() for op in todo)), going)
        done = [op for op in ops if op.is_done or self._do(op)]
        leaves = [leave for leave in leaves if self._end_directory(leave)]
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
                self._clear(op.place, temporary, op.below, op.name, libc.RENAME_NOREPLACE)
            else:
                os.unlink(op.name, dir_fd=op.place.below)
        except (OSError, RefusedError) as error:
            if op.temporary:
                with contextlib.suppress(FileNotFoundError, IsADirectoryError):
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

    @staticmethod
    def _replace(op: Op) -> None:
        here, temporary, name = op.place.below, os.fsencode(op.temporary), os.fsencode(op.name)
        if op.below is not None and stat.S_ISDIR(op.below.st_mode):
            libc.renameat2(here, temporary, here, name, libc.RENAME_EXCHANGE)
            Batch._clear(op.place, op.temporary, op.below, op.name, libc.RENAME_EXCHANGE)
        elif op.below is not None:
            os.rename(temporary, name, src_dir_fd=here, dst_dir_fd=here)
        else:
            libc.renameat2(here, temporary, here, name, libc.RENAME_NOREPLACE)

    @staticmethod
    def _clear(place: Place, temporary: str, expected: os.stat_result, name: str, back: int) -> None:
        """Remove the directory that was renamed to `temporary`; another one gets its `name` back (`back` are the flags)."""
        fd = private.open_folder(temporary, place.below)
        try:
            if not os.path.samestat(os.fstat(fd), expected):
                here = place.below
                libc.renameat2(here, os.fsencode(temporary), here, os.fsencode(name), back)
                raise RefusedError(EXCHANGED)
            private.empty(fd)
        finally:
            os.close(fd)
        os.rmdir(temporary, dir_fd=place.below)

    def sweep(self, place: Place) -> None:
        """Remove the temporary files and directories that an interrupted commit left, and no others of such a name."""
        for name in os.listdir(place.below):
            if not name.startswith(self.prefix):
                continue
            try:
                os.unlink(name, dir_fd=place.below)
                continue
            except IsADirectoryError:
                before = os.stat(name, dir_fd=place.below, follow_symlinks=False)
            # Whoever owns the tree can give another's directory such a name. Opening would change the mode of a closed
            # one, so it is judged before.
            is_going, is_ours = before.st_ino in self.journal.going, _is_ours(before)
            if not (is_going or is_ours):
                continue
            fd = private.open_folder(name, place.below)
            try:
                if not os.path.samestat(os.fstat(fd), before):
                    continue
                if is_going:
                    private.empty(fd)
                elif _INSIDE in os.listdir(fd):
                    _remove_one(_INSIDE, fd)
            finally:
                os.close(fd)
            with contextlib.suppress(OSError):
                os.rmdir(name, dir_fd=place.below)

    def _end_directory(self, leave: Leave) -> bool:
        """Give a directory what the command gave it; False if that was refused."""
        try:
            pinned = self.lower.pin(leave.path)
        except OSError as error:
            self.refuse(leave.path, reason(error))
            return False
        try:
            found = os.fstat(pinned)
            # Its path may lead to another one by now, to which nobody meant to give anything.
            if not os.path.samestat(found, leave.below):
                self.refuse(leave.path, EXCHANGED)
                return False
            self._give(leave, found, f"/proc/self/fd/{pinned}")
        except (OSError, RefusedError) as error:
            self.refuse(leave.path, reason(error) if isinstance(error, OSError) else str(error))
            return False
        finally:
            os.close(pinned)
        return True

    def _give(self, leave: Leave, found: os.stat_result, here: str) -> None:
        # The set-group-ID bit of a directory means inheritance (inode(7)) and stays as it is.
        mode = self.upper.mode(leave.above) & 0o1777 | found.st_mode & stat.S_ISGID
        wanted, had = diff.folder_attributes(self.upper, leave.path), attributes(here)
        owners = [(each.st_uid, each.st_gid) for each in (leave.above, found)]
        is_given = not leave.is_new and not os.geteuid() and owners[0] != owners[1]
        # What was opened only for the work in it gets its own mode back, which is no change.
        is_news = is_given or wanted != had or stat.S_IMODE(leave.below.st_mode) != mode
        if is_news and not leave.is_new and not self.force and self.is_changed(leave.below):
            if found.st_mode == leave.below.st_mode | stat.S_IRWXU:
                os.chmod(here, stat.S_IMODE(leave.below.st_mode))
            raise RefusedError(CHANGED)
        if is_given:
            os.chown(here, *owners[0])
        if wanted != had or stat.S_IMODE(found.st_mode) != mode:
            take_over(wanted, here, mode)
        if leave.is_new:
            os.utime(here, ns=(leave.above.st_atime_ns, leave.above.st_mtime_ns))
        self.committed += is_news and not leave.is_new

    def is_changed(self, below: os.stat_result) -> bool:
        """Whether somebody else changed this since the start."""
        return diff.changed_since(below, self.since) and below.st_ino not in self.journal.touched

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
        self._refused.setdefault(path, Left(self.directory, path, why))


def _remove_one(name: str, folder: int) -> None:
    """Remove a file or an empty directory. Raises OSError."""
    try:
        os.unlink(name, dir_fd=folder)
    except IsADirectoryError:
        os.rmdir(name, dir_fd=folder)


def _is_ours(found: os.stat_result) -> bool:
    """Whether this is a directory that nobody else can have put anything in."""
    return found.st_uid == os.geteuid() and not found.st_mode & 0o077


def make_directory(
    place: Place, name: str, batch: Batch, above: os.stat_result, below: os.stat_result | None
) -> os.stat_result:
    """Make a new directory, in the place of what is no directory, and return its status. Raises RefusedError, OSError."""
    # One flush of the disk for each directory would be slow.
    batch.journal.touch(place.own_doing(), is_durable=False)
    temporary = batch.temporary()
    os.mkdir(temporary, 0o700, dir_fd=place.below)
    outer = os.open(temporary, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=place.below)
    try:
        # Whoever owns the directory around it can exchange ours for one that root must not give away; but in one that
        # is closed to others nobody else can have made anything.
        if not _is_ours(os.fstat(outer)):
            raise RefusedError(EXCHANGED)
        os.mkdir(_INSIDE, 0o700, dir_fd=outer)
        try:
            made = _own(outer, above)
            batch.journal.touch({made.st_ino}, is_durable=False)
            flag = libc.RENAME_NOREPLACE if below is None else libc.RENAME_EXCHANGE
            libc.renameat2(outer, os.fsencode(_INSIDE), place.below, os.fsencode(name), flag)
        except OSError:
            os.rmdir(_INSIDE, dir_fd=outer)
            raise
        if below is not None:
            _remove_one(_INSIDE, outer)
    finally:
        os.close(outer)
        with contextlib.suppress(OSError):  # another one that took the name stays
            os.rmdir(temporary, dir_fd=place.below)
    return made


def _own(outer: int, above: os.stat_result) -> os.stat_result:
    fd = os.open(_INSIDE, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=outer)
    try:
        own(fd, above, None)
        return os.fstat(fd)
    finally:
        os.close(fd)


def reason(error: OSError) -> str:
    """Why something was refused, in words."""
    if error.errno == errno.EXDEV:
        return "a mount point is in the way"
    return libc.strerror(error.errno or 0)
