"""Commit: what a command changed in its workspace is done to the directories themselves.

**All or nothing, file by file.** A new content is written to a temporary file in the target's directory, made durable,
and renamed over the target. A directory that goes is renamed away first and then emptied. A target of another type is
exchanged (renameat2(2)).

**The upper directory is the journal.** A change leaves it only once the target is durable, so what is still there is
what is still to do, and what was done already turns out to be no difference. A commit that was interrupted anywhere is
finished by another one, which first sweeps up the temporary files (`.sandrun-ID-…`) in each directory that still holds
changes. One thing is written down besides, in a file `journalN` for each filesystem, while a commit is unfinished: which
directories, and which files with several names, have a later ctime by our own doing.

**What changed underneath is refused** and stays in the workspace, with all else committed. How the lower tree looked at
the start is not recorded, since that would cost a walk over it at each launch. Instead a target counts as changed if
its ctime, which only the kernel sets, is later than the start; `store.await_clock` makes that exact on local
filesystems. A directory to be removed counts as changed if anything in it did. Something that overlayfs copied up and
is not below may have been removed, unless its directory below is unchanged: then the command renamed it. Two changes
cannot be told: a directory exchanged for another whose files all are older, and a file that the command made anew while
somebody else deleted the one below: it is made again. Someone who writes between our last look and the rename,
microseconds later, loses.

**What is not taken over:** set-user-ID and set-group-ID bits, attributes of `security.*` and `trusted.*` (a command
must not plant privileges), devices, fifos and sockets (told as left out), and that two names were one file: each name
becomes a file of its own. Files belong to the caller; where that is root, to whom the command made them belong.

**The tree may be another user's** while root commits. A directory is known by its inode: one that takes the path of
another during the commit gets nothing, neither files nor modes nor owners, and is not removed.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from sandrun import libc
from sandrun.errors import SandrunError
from sandrun.workspace import diff
from sandrun.workspace.batch import Batch, make_directory, reason
from sandrun.workspace.copy import copy_file, own_link, without_set_id
from sandrun.workspace.journal import Journal
from sandrun.workspace.staged import CHANGED, EXCHANGED, REMOVED, Leave, Left, Op, Place, RefusedError, Visit
from sandrun.workspace.tree import join, lstat

if TYPE_CHECKING:
    from sandrun.workspace.store import Workspace
    from sandrun.workspace.tree import Tree, Upper


class Result(NamedTuple):
    """What a commit did. What was refused is still in the workspace; what was left out is not."""

    committed: int
    refused: tuple[Left, ...]
    left_out: tuple[Left, ...]


def commit(workspace: Workspace, *, force: bool = False) -> Result:
    """Do the changes of a workspace, which the caller has locked. With `force` also over what changed underneath.

    Raises SandrunError if it cannot be begun; single changes that cannot be done are in the result.
    """
    try:
        _check_size(workspace)
        journals: dict[int, Journal] = {}
        commits = []
        for number, directory in enumerate(workspace.directories):
            with workspace.upper(number) as upper, workspace.lower(number) as lower:
                journal = journals.setdefault(os.fstat(lower.fd).st_dev, Journal(workspace, number))
                commits.append(_Commit(workspace, directory, upper, lower, journal, force=force))
                commits[-1].run()
        for journal in journals.values():
            journal.end()
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise SandrunError(
            f"cannot commit {workspace.id}: {where}{libc.strerror(error.errno or 0)}",
            hint="what was not committed is still in the workspace; the same command goes on from there",
        ) from None
    return Result(
        sum(each.batch.committed for each in commits),
        tuple(left for each in commits for left in each.batch.refused),
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


class _Commit:
    """The commit of one overlaid directory."""

    def __init__(
        self, workspace: Workspace, directory: str, upper: Upper, lower: Tree, journal: Journal, *, force: bool
    ) -> None:
        self.directory = directory
        self.upper, self.lower = upper, lower
        self.journal, self.force = journal, force
        self.since = workspace.started
        self.batch = Batch(workspace, directory, upper, lower, journal, force=force)
        self.left_out: list[Left] = []

    # --- the walk ----------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Do it all; single failures go to `refused`."""
        above, below = os.fstat(self.upper.fd), os.fstat(self.lower.fd)
        self._open_for_work("", below)
        waiting: list[Visit | Leave] = [Leave("", above, below, is_new=False), Visit("", below)]
        try:
            while waiting:
                item = waiting.pop()
                if isinstance(item, Leave):
                    self.batch.ops.append(item)
                else:
                    waiting += reversed(self._folder(item))
                if self.batch.is_full():
                    self.batch.flush()
            self.batch.flush()
        finally:
            self.batch.close_places()

    def _folder(self, visit: Visit) -> list[Visit | Leave]:
        """Stage the changes of one directory. Returns its subdirectories, each followed by its end."""
        path = visit.path
        try:
            above = self.upper.folder(path)
            try:
                below = self._lower(visit)
            except (OSError, RefusedError):
                os.close(above)
                raise
        except (OSError, RefusedError) as error:
            self.batch.refuse(path, reason(error) if isinstance(error, OSError) else str(error))
            return []
        place = Place(path, above, below, since=self.since, touched=self.journal.touched)
        self.batch.places.append(place)
        try:
            self.batch.sweep(place)
            self._spell_out(place)
        except OSError as error:
            self.batch.refuse(path, reason(error))
            return []
        found: list[Visit | Leave] = []
        for name in sorted(os.listdir(above)):
            try:
                found += self._entry(place, name)
            except RefusedError as refused:
                self.batch.refuse(join(path, name), str(refused))
            except OSError as error:
                self.batch.refuse(join(path, name), reason(error))
            # A directory with many files is not to be staged as a whole.
            if self.batch.is_full():
                self.batch.flush(keep=place)
        return found

    def _lower(self, visit: Visit) -> int:
        """The directory below that was looked at or made, and no other that has its path by now."""
        fd = self.lower.folder(visit.path)
        if os.path.samestat(os.fstat(fd), visit.below):
            return fd
        os.close(fd)
        raise RefusedError(EXCHANGED)

    def _spell_out(self, place: Place) -> None:
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

    def _entry(self, place: Place, name: str) -> list[Visit | Leave]:
        """Stage one name. Raises RefusedError, OSError."""
        above = os.stat(name, dir_fd=place.above, follow_symlinks=False)
        below = lstat(name, place.below)
        if diff.is_whiteout(above, name, place.above):
            if below is not None:
                self._judge(place, name, above, below)
            self.batch.ops.append(Op(place, name, below, is_done=below is None))
        elif stat.S_ISDIR(above.st_mode):
            return self._directory(place, name, above, below)
        elif not (stat.S_ISREG(above.st_mode) or stat.S_ISLNK(above.st_mode)):
            what = stat.filemode(above.st_mode)[0]
            kind = {"p": "a fifo", "s": "a socket"}.get(what, "a device")
            self.left_out.append(Left(self.directory, join(place.path, name), f"{kind} is not committed"))
            self.batch.ops.append(Op(place, name, below, is_done=True))
        elif below is not None and self._is_same(place, name, above, below):
            self.batch.ops.append(Op(place, name, below, is_done=True))
        else:
            self._judge(place, name, above, below)
            self.batch.ops.append(Op(place, name, below, self._stage(place, name, above, below)))
        return []

    def _is_same(self, place: Place, name: str, above: os.stat_result, below: os.stat_result) -> bool:
        what = set(diff.differences(self.upper, place.above, place.below, name, above, below))
        if diff.MODE in what and without_set_id(self.upper.mode(above)) == stat.S_IMODE(below.st_mode):
            what.discard(diff.MODE)
        return not what

    def _judge(self, place: Place, name: str, above: os.stat_result, below: os.stat_result | None) -> None:
        """Raise RefusedError if somebody else changed the target since the start."""
        if self.force:
            return
        if below is None:
            if place.is_changed and diff.was_copied(place.above, name, above):
                raise RefusedError(REMOVED)
        elif stat.S_ISDIR(below.st_mode):
            self._judge_tree(join(place.path, name))
        elif self.batch.is_changed(below):
            raise RefusedError(CHANGED)

    def _judge_tree(self, path: str) -> None:
        """The same for a directory that goes with all that is in it; a mount point in it is an error too (EXDEV)."""
        waiting = [path]
        while waiting:
            folder = waiting.pop()
            fd = self.lower.folder(folder)
            try:
                # The directory's own times change with what is made and removed in it.
                if self.batch.is_changed(os.fstat(fd)):
                    raise RefusedError(f"{CHANGED}: {folder}")
                for name in os.listdir(fd):
                    found = os.stat(name, dir_fd=fd, follow_symlinks=False)
                    if stat.S_ISDIR(found.st_mode):
                        waiting.append(join(folder, name))
                    elif self.batch.is_changed(found):
                        raise RefusedError(f"{CHANGED}: {join(folder, name)}")
            finally:
                os.close(fd)

    # --- staging -----------------------------------------------------------------------------------------------------

    def _stage(self, place: Place, name: str, above: os.stat_result, below: os.stat_result | None) -> str:
        """The new content under a temporary name. Nothing of it is left after an error."""
        temporary = self.batch.temporary()
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
                self.batch.bytes += above.st_blocks * 512
        except OSError:
            if lstat(temporary, place.below) is not None:
                os.unlink(temporary, dir_fd=place.below)
            raise
        return temporary

    def _directory(
        self, place: Place, name: str, above: os.stat_result, below: os.stat_result | None
    ) -> list[Visit | Leave]:
        """Make a directory, or what stands in its place into one, at once: what is in it goes there."""
        path = join(place.path, name)
        if below is None or not stat.S_ISDIR(below.st_mode):
            self._judge(place, name, above, below)
            made = make_directory(place, name, self.batch, above, below)
            self.batch.committed += 1
            return [Visit(path, made), Leave(path, above, made, is_new=True)]
        self._open_for_work(path, below)
        return [Visit(path, below), Leave(path, above, below, is_new=False)]

    def _open_for_work(self, path: str, below: os.stat_result) -> None:
        """Let an ordinary user into a directory of its own until `_end_directory` gives it its mode."""
        if not os.geteuid() or below.st_uid != os.geteuid() or not ~below.st_mode & stat.S_IRWXU:
            return
        if not self.batch.is_changed(below):
            self.journal.touch({below.st_ino})
        pinned = self.lower.pin(path)
        try:
            if os.path.samestat(os.fstat(pinned), below):
                os.chmod(f"/proc/self/fd/{pinned}", stat.S_IMODE(below.st_mode) | stat.S_IRWXU)
        finally:
            os.close(pinned)
