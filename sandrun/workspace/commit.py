"""Commit: what a command changed in its workspace is done to the directories themselves.

**All or nothing, file by file.** A new content is written to a temporary file in the target's directory, made durable,
and renamed over the target. A directory that goes is renamed away first and then emptied. A target of another type is
exchanged (renameat2(2)).

**The upper directory is the journal.** A change leaves it only once the target is durable, so what is still there is
what is still to do, and what was done already turns out to be no difference. A commit that was interrupted anywhere is
finished by another one, which first sweeps up the temporary files (`.sandrun-ID-…`) in each directory that still holds
changes. One thing is written down besides, in the file `journal`, while a commit is unfinished: which directories, and
which files with several names, have a later ctime by our own doing.

**What changed underneath is refused** and stays in the workspace, with all else committed. How the lower tree looked at
the start is not recorded, since that would cost a walk over it at each launch. Instead a target counts as changed if its
ctime, which only the kernel sets, is later than the start; `store.await_clock` makes that exact on local filesystems. A
directory to be removed counts as changed if anything in it did. Something that overlayfs copied up and is not below
may have been removed, unless its directory below is unchanged: then the command renamed it. Two changes cannot be told: a directory exchanged for another whose files all are older, and a
file that the command made anew while somebody else deleted the one below: it is made again. Someone who writes between
our last look and the rename, microseconds later, loses.

**What is not taken over:** set-user-ID and set-group-ID bits, attributes of `security.*` and `trusted.*` (a command
must not plant privileges), devices, fifos and sockets (told as left out), and that two names were one file: each name
becomes a file of its own. Files belong to the caller; where that is root, to whom the command made them belong.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from sandrun import libc
from sandrun.errors import SandrunError
from sandrun.primitives import private
from sandrun.workspace import diff
from sandrun.workspace.copy import copy_file, own, own_link, without_set_id
from sandrun.workspace.tree import join, lstat

if TYPE_CHECKING:
    from sandrun.workspace.store import Workspace
    from sandrun.workspace.tree import Tree, Upper

CHANGED, APPEARED = "changed since the start", "appeared since the start"
REMOVED = "perhaps removed since the start"
_BATCH = 256
"""Changes that become durable at once; one by one each would cost a flush of the disk."""
_PLACES = 64
"""Directories that are held open for it, each with two descriptors."""
_BATCH_BYTES = 64 << 20


class Left(NamedTuple):
    """Something that was not committed: the path in its directory, and why."""

    directory: str
    path: str
    why: str


class Result(NamedTuple):
    """What a commit did. What was refused is still in the workspace; what was left out is not."""

    committed: int
    refused: tuple[Left, ...]
    left_out: tuple[Left, ...]


class RefusedError(Exception):
    """This change is not committed; the message is why."""


class _Place:
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


class _Op(NamedTuple):
    """One change that waits for its batch. Without `temporary` the name is deleted, or only leaves the upper tree."""

    place: _Place
    name: str
    below: os.stat_result | None
    temporary: str = ""
    is_done: bool = False
    """Nothing is to be done below."""


class _Leave(NamedTuple):
    """The end of a directory: its mode, for a new one its times too, then its removal from the upper tree if empty."""

    path: str
    mode: int
    times: tuple[int, int] | None


def commit(workspace: Workspace, *, force: bool = False) -> Result:
    """Do the changes of a workspace, which the caller has locked. With `force` also over what changed underneath.

    Raises SandrunError if it cannot be begun; single changes that cannot be done are in the result.
    """
    try:
        _check_size(workspace)
        journal = _Journal(workspace)
        commits = []
        for number, directory in enumerate(workspace.directories):
            with workspace.upper(number) as upper, workspace.lower(number) as lower:
                commits.append(_Commit(workspace, directory, upper, lower, journal, force=force))
                commits[-1].run()
        journal.end()
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise SandrunError(
            f"cannot commit {workspace.id}: {where}{libc.strerror(error.errno or 0)}",
            hint="what was not committed is still in the workspace; the same command goes on from there",
        ) from None
    return Result(
        sum(each.committed for each in commits),
        tuple(left for each in commits for left in each.refused),
        tuple(left for each in commits for left in each.left_out),
    )


def _check_size(workspace: Workspace) -> None:
    if not workspace.size_limit:
        return
    size = 0
    for number in range(len(workspace.directories)):
        with workspace.upper(number) as upper, workspace.lower(number) as lower:
            for change in diff.changes(upper, lower, workspace.started):
                size += change.upper.st_blocks * 512 if change.upper and stat.S_ISREG(change.upper.st_mode) else 0
    if size > workspace.size_limit:
        raise SandrunError(
            f"cannot commit {workspace.id}: {size} bytes, and its size limit is {workspace.size_limit}",
            hint="look at it with sandrun workspace diff; then commit --size-limit SIZE, or discard",
        )


class _Journal:
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


class _Commit:
    """The commit of one overlaid directory."""

    def __init__(
        self, workspace: Workspace, directory: str, upper: Upper, lower: Tree, journal: _Journal, *, force: bool
    ) -> None:
        self.directory = directory
        self.upper, self.lower = upper, lower
        self.journal, self.force = journal, force
        self.since = workspace.started
        self.prefix = f".sandrun-{workspace.id}-"
        self.number = 0
        self.committed = 0
        self.refused: list[Left] = []
        self.left_out: list[Left] = []
        self.ops: list[_Op | _Leave] = []
        self.places: list[_Place] = []
        self.bytes = 0

    # --- the walk ----------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Do it all; single failures go to `refused`."""
        above, below = os.fstat(self.upper.fd), os.fstat(self.lower.fd)
        self._open_for_work("", below)
        waiting: list[str | _Leave] = [_Leave("", self._directory_mode(above, below), None), ""]
        try:
            while waiting:
                item = waiting.pop()
                if isinstance(item, _Leave):
                    self.ops.append(item)
                else:
                    waiting += reversed(self._folder(item))
                if len(self.ops) >= _BATCH or len(self.places) >= _PLACES or self.bytes >= _BATCH_BYTES:
                    self._flush()
            self._flush()
        finally:
            self._close_places()

    def _folder(self, path: str) -> list[str | _Leave]:
        """Stage the changes of one directory. Returns its subdirectories, each followed by its end."""
        try:
            above = self.upper.folder(path)
            try:
                below = self.lower.folder(path)
            except OSError:
                os.close(above)
                raise
        except OSError as error:
            self._refuse(path, _reason(error))
            return []
        place = _Place(path, above, below, since=self.since, touched=self.journal.touched)
        self.places.append(place)
        try:
            self._sweep(place)
            self._spell_out(place)
        except OSError as error:
            self._refuse(path, _reason(error))
            return []
        found: list[str | _Leave] = []
        for name in sorted(os.listdir(above)):
            try:
                found += self._entry(place, name)
            except RefusedError as refused:
                self._refuse(join(path, name), str(refused))
            except OSError as error:
                self._refuse(join(path, name), _reason(error))
            # A directory with many files is not to be staged as a whole.
            if len(self.ops) >= _BATCH or self.bytes >= _BATCH_BYTES:
                self._flush(keep=place)
        return found

    def _sweep(self, place: _Place) -> None:
        """Remove the temporary files and directories that an interrupted commit left."""
        for name in os.listdir(place.below):
            if name.startswith(self.prefix):
                self._clear(place, name)

    def _spell_out(self, place: _Place) -> None:
        """Replace the mark that nothing shows through by a whiteout for each name that does not.

        The mark would make what we commit into the directory look like what it hides, should we be interrupted.
        """
        if not diff.is_opaque(place.above):
            return
        for name in os.listdir(place.below):
            found = lstat(name, place.above)
            if found is None:
                os.mknod(name, stat.S_IFCHR, 0, dir_fd=place.above)
            elif stat.S_ISDIR(found.st_mode):
                os.setxattr(f"/proc/self/fd/{place.above}/{name}", "user.overlay.opaque", b"y", follow_symlinks=False)
        os.fsync(place.above)
        for prefix in ("user.overlay.", "trusted.overlay."):
            try:
                os.removexattr(place.above, prefix + "opaque")
            except OSError as error:
                if error.errno not in (errno.ENODATA, errno.ENOTSUP, errno.EPERM):
                    raise

    def _entry(self, place: _Place, name: str) -> list[str | _Leave]:
        """Stage one name. Raises RefusedError, OSError."""
        above = os.stat(name, dir_fd=place.above, follow_symlinks=False)
        below = lstat(name, place.below)
        if diff.is_whiteout(above, name, place.above):
            if below is not None:
                self._judge(place, name, above, below)
            self.ops.append(_Op(place, name, below, is_done=below is None))
        elif stat.S_ISDIR(above.st_mode):
            return self._directory(place, name, above, below)
        elif not (stat.S_ISREG(above.st_mode) or stat.S_ISLNK(above.st_mode)):
            what = stat.filemode(above.st_mode)[0]
            kind = {"p": "a fifo", "s": "a socket"}.get(what, "a device")
            self.left_out.append(Left(self.directory, join(place.path, name), f"{kind} is not committed"))
            self.ops.append(_Op(place, name, below, is_done=True))
        elif below is not None and self._is_same(place, name, above, below):
            self.ops.append(_Op(place, name, below, is_done=True))
        else:
            self._judge(place, name, above, below)
            self.ops.append(_Op(place, name, below, self._stage(place, name, above, below)))
        return []

    def _is_same(self, place: _Place, name: str, above: os.stat_result, below: os.stat_result) -> bool:
        what = set(diff.differences(self.upper, place.above, place.below, name, above, below))
        if diff.MODE in what and without_set_id(self.upper.mode(above)) == stat.S_IMODE(below.st_mode):
            what.discard(diff.MODE)
        return not what

    def _judge(self, place: _Place, name: str, above: os.stat_result, below: os.stat_result | None) -> None:
        """Raise RefusedError if somebody else changed the target since the start."""
        if self.force:
            return
        if below is None:
            if place.is_changed and diff.was_copied(place.above, name, above):
                raise RefusedError(REMOVED)
        elif stat.S_ISDIR(below.st_mode):
            self._judge_tree(join(place.path, name))
        elif self._is_changed(below):
            raise RefusedError(CHANGED)

    def _is_changed(self, below: os.stat_result) -> bool:
        return diff.changed_since(below, self.since) and below.st_ino not in self.journal.touched

    def _judge_tree(self, path: str) -> None:
        """The same for a directory that goes with all that is in it; a mount point in it is an error too (EXDEV)."""
        waiting = [path]
        while waiting:
            folder = waiting.pop()
            fd = self.lower.folder(folder)
            try:
                # The directory's own times change with what is made and removed in it.
                if self._is_changed(os.fstat(fd)):
                    raise RefusedError(f"{CHANGED}: {folder}")
                for name in os.listdir(fd):
                    found = os.stat(name, dir_fd=fd, follow_symlinks=False)
                    if stat.S_ISDIR(found.st_mode):
                        waiting.append(join(folder, name))
                    elif self._is_changed(found):
                        raise RefusedError(f"{CHANGED}: {join(folder, name)}")
            finally:
                os.close(fd)

    # --- staging -----------------------------------------------------------------------------------------------------

    def _temporary(self) -> str:
        self.number += 1
        return f"{self.prefix}{os.getpid()}-{self.number}"

    def _stage(self, place: _Place, name: str, above: os.stat_result, below: os.stat_result | None) -> str:
        """The new content under a temporary name. Nothing of it is left after an error."""
        temporary = self._temporary()
        try:
            if stat.S_ISLNK(above.st_mode):
                os.symlink(os.readlink(name, dir_fd=place.above), temporary, dir_fd=place.below)
                own_link(temporary, place.below, above)
            else:
                source = self.upper.file(name, place.above, above)
                try:
                    copy_file(source, temporary, place.below, self.upper.mode(above), above, below)
                finally:
                    os.close(source)
                self.bytes += above.st_blocks * 512
        except OSError:
            if lstat(temporary, place.below) is not None:
                os.unlink(temporary, dir_fd=place.below)
            raise
        return temporary

    def _directory(
        self, place: _Place, name: str, above: os.stat_result, below: os.stat_result | None
    ) -> list[str | _Leave]:
        """Make a directory, or what stands in its place into one, at once: what is in it goes there."""
        path = join(place.path, name)
        is_new = below is None or not stat.S_ISDIR(below.st_mode)
        mode = self._directory_mode(above, below if not is_new else None)
        if is_new:
            self._judge(place, name, above, below)
            self._make_directory(place, name, above, below)
            self.committed += 1
        elif below is not None:
            self._open_for_work(path, below)
        times = (above.st_atime_ns, above.st_mtime_ns) if is_new else None
        return [path, _Leave(path, mode, times)]

    def _open_for_work(self, path: str, below: os.stat_result) -> None:
        """Let an ordinary user into a directory of its own until `_end_directory` gives it its mode."""
        if not os.geteuid() or below.st_uid != os.geteuid() or not ~below.st_mode & stat.S_IRWXU:
            return
        if not self._is_changed(below):
            self.journal.touch({below.st_ino})
        pinned = self.lower.pin(path)
        try:
            if os.path.samestat(os.fstat(pinned), below):
                os.chmod(f"/proc/self/fd/{pinned}", stat.S_IMODE(below.st_mode) | stat.S_IRWXU)
        finally:
            os.close(pinned)

    def _make_directory(self, place: _Place, name: str, above: os.stat_result, below: os.stat_result | None) -> None:
        if below is None:
            os.mkdir(name, 0o700, dir_fd=place.below)
        else:
            temporary = self._temporary()
            os.mkdir(temporary, 0o700, dir_fd=place.below)
            self._exchange(place, name, temporary)
        fd = self.lower.folder(join(place.path, name))
        try:
            # Whoever owns the directory around it can exchange ours for one that root must not give away.
            if os.fstat(fd).st_uid != os.geteuid() or os.listdir(fd):
                raise RefusedError("exchanged while it was made")
            own(fd, above, None)
        finally:
            os.close(fd)

    def _directory_mode(self, above: os.stat_result, below: os.stat_result | None) -> int:
        """The mode of a directory at the end; its set-group-ID bit means inheritance (inode(7)), and stays as it is."""
        inherited = below.st_mode & stat.S_ISGID if below is not None else 0
        return self.upper.mode(above) & 0o1777 | inherited

    # --- doing -------------------------------------------------------------------------------------------------------

    def _flush(self, keep: _Place | None = None) -> None:
        """Do what is staged: make it durable, put it in place, make that durable, then forget it above."""
        ops = [op for op in self.ops if isinstance(op, _Op)]
        leaves = [op for op in self.ops if isinstance(op, _Leave)]
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
        self._close_places(keep)

    def _do(self, op: _Op) -> bool:
        """Put one change in place; False if it was refused."""
        try:
            self._check_again(op)
            if op.temporary:
                self._replace(op)
            elif op.below is not None and stat.S_ISDIR(op.below.st_mode):
                temporary = self._temporary()
                os.rename(op.name, temporary, src_dir_fd=op.place.below, dst_dir_fd=op.place.below)
                self._clear(op.place, temporary)
            else:
                os.unlink(op.name, dir_fd=op.place.below)
        except (OSError, RefusedError) as error:
            if op.temporary and lstat(op.temporary, op.place.below) is not None:
                os.unlink(op.temporary, dir_fd=op.place.below)
            why = _reason(error) if isinstance(error, OSError) else str(error)
            self._refuse(join(op.place.path, op.name), why)
            return False
        self.committed += 1
        return True

    def _check_again(self, op: _Op) -> None:
        now = lstat(op.name, op.place.below)
        if op.below is None or now is None:
            if now is not op.below:
                raise RefusedError(REMOVED if now is None else APPEARED)
        elif now.st_ino != op.below.st_ino or (
            now.st_ctime_ns != op.below.st_ctime_ns and now.st_ino not in self.journal.touched
        ):
            raise RefusedError(CHANGED)

    def _replace(self, op: _Op) -> None:
        if op.below is not None and stat.S_ISDIR(op.below.st_mode):
            self._exchange(op.place, op.name, op.temporary)
        elif op.below is not None:
            os.rename(op.temporary, op.name, src_dir_fd=op.place.below, dst_dir_fd=op.place.below)
        else:
            here = op.place.below
            libc.renameat2(here, os.fsencode(op.temporary), here, os.fsencode(op.name), libc.RENAME_NOREPLACE)

    def _exchange(self, place: _Place, name: str, temporary: str) -> None:
        """Put `temporary` in the place of `name`, and remove what was there."""
        here = place.below
        libc.renameat2(here, os.fsencode(temporary), here, os.fsencode(name), libc.RENAME_EXCHANGE)
        self._clear(place, temporary)

    @staticmethod
    def _clear(place: _Place, name: str) -> None:
        try:
            os.unlink(name, dir_fd=place.below)
        except IsADirectoryError:
            number = private.remove(b"/proc/self/fd/%d/./%s" % (place.below, os.fsencode(name)))
            if number:
                raise OSError(number, os.strerror(number), name) from None

    def _end_directory(self, leave: _Leave) -> None:
        """Give a directory its mode, and a new one its times."""
        try:
            pinned = self.lower.pin(leave.path)
        except OSError as error:
            self._refuse(leave.path, _reason(error))
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
            self._refuse(leave.path, _reason(error))
        finally:
            os.close(pinned)

    def _forget_directory(self, leave: _Leave) -> None:
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

    def _close_places(self, keep: _Place | None = None) -> None:
        for place in self.places:
            if place is not keep:
                place.close()
        self.places = [keep] if keep else []

    def _refuse(self, path: str, why: str) -> None:
        self.refused.append(Left(self.directory, path, why))


def _reason(error: OSError) -> str:
    if error.errno == errno.EXDEV:
        return "a mount point is in the way"
    return libc.strerror(error.errno or 0)
