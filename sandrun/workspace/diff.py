"""What a workspace holds: the upper directory of an overlay read against the lower one, as a stream of changes.

overlayfs leaves in the upper directory (linux: Documentation/filesystems/overlayfs.rst, with `userxattr`):
a copy of each file that was opened for writing or whose attributes changed, marked `user.overlay.origin`; a character
device 0/0, a whiteout, for each name that was removed; a directory for each one in which something changed, marked
`user.overlay.opaque` = y if nothing below it shows through. In a directory that replaced another one whole
subdirectories carry no mark at all: nothing shows through there either. Directories are never redirected, since
`userxattr` forbids it: rename(2) of one answers EXDEV and programs copy instead, so a move is a deletion and an
addition. The other mark for whiteouts (`user.overlay.whiteout` in a directory marked opaque = x) is understood.
Names of one file are separate files here, since overlayfs copies each by itself.

Changes are told while the tree is read; memory is needed for one directory at a time.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from sandrun import libc
from sandrun.workspace.copy import attributes
from sandrun.workspace.tree import Tree, join, lstat

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from sandrun.workspace.tree import Upper

ADDED, CHANGED, DELETED, UNREADABLE = "added", "changed", "deleted", "unreadable"
KINDS = (ADDED, CHANGED, DELETED, UNREADABLE)
CONTENT, MODE, OWNER, TARGET, TYPE, TIME = "content", "mode", "owner", "target", "type", "time"
ATTRIBUTES = "attributes"
"""Those of user.*, and access control lists."""
_MARKS = ("user.overlay.", "trusted.overlay.")
_CHUNK = 1 << 18


class Change(NamedTuple):
    """One name that differs. `path` is relative to the overlaid directory, whose own path is ""."""

    path: str
    kind: str
    upper: os.stat_result | None = None
    lower: os.stat_result | None = None
    what: tuple[str, ...] = ()
    """Of CHANGED: in which respects."""
    why: str = ""
    """Of UNREADABLE: why it could not be read. Of others: what somebody else changed since the start, or ""."""

    @property
    def type(self) -> str:
        """The letter that ls(1) shows for what is there now, or was there before its deletion."""
        found = self.upper or self.lower
        return stat.filemode(found.st_mode)[0] if found else "?"


class Folder(NamedTuple):
    """A directory of the upper tree, and what shows through it."""

    path: str
    pure: bool
    """Nothing below shows through: the directory stands for itself."""
    has_lower: bool
    """The lower tree has a directory of this name."""


TOP = Folder("", pure=False, has_lower=True)


# --- the marks of overlayfs ------------------------------------------------------------------------------------------


def mark(file: int | str, name: str) -> bytes | None:
    """The value of an attribute of overlayfs on a descriptor or path, or None."""
    for prefix in _MARKS:
        try:
            return os.getxattr(file, prefix + name, follow_symlinks=isinstance(file, int))
        except OSError as error:
            if error.errno not in (errno.ENODATA, errno.ENOTSUP, errno.EPERM, errno.EACCES):
                raise
    return None


def is_opaque(folder: int) -> bool:
    """Whether nothing below shows through this directory."""
    return mark(folder, "opaque") == b"y"


def is_whiteout(found: os.stat_result, name: str, folder: int) -> bool:
    """Whether the name stands for "deleted"."""
    if stat.S_ISCHR(found.st_mode):
        return found.st_rdev == 0
    if not stat.S_ISREG(found.st_mode) or found.st_size or mark(folder, "opaque") != b"x":
        return False
    return mark(f"/proc/self/fd/{folder}/{name}", "whiteout") is not None


def was_copied(folder: int, name: str, found: os.stat_result) -> bool:
    """Whether overlayfs copied this up from below. A file may have been renamed or linked since, a directory not."""
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
        return False
    return mark(f"/proc/self/fd/{folder}/{name}", "origin") is not None


# --- comparing one name ----------------------------------------------------------------------------------------------


def changed_since(found: os.stat_result, since: int) -> bool:
    """Whether this was changed after the nanosecond `since`. Only the kernel sets a ctime (inode(7))."""
    return found.st_ctime_ns > since


def differences(
    upper: Upper, in_upper: int, in_lower: int, name: str, above: os.stat_result, below: os.stat_result
) -> tuple[str, ...]:
    """In which respects the same name differs above and below. Raises OSError if a file cannot be read."""
    if stat.S_IFMT(above.st_mode) != stat.S_IFMT(below.st_mode):
        return (TYPE,)
    what = []
    if stat.S_ISLNK(above.st_mode):
        if os.readlink(name, dir_fd=in_upper) != os.readlink(name, dir_fd=in_lower):
            what.append(TARGET)
    elif upper.mode(above) != stat.S_IMODE(below.st_mode):
        what.append(MODE)
    if stat.S_ISREG(above.st_mode):
        if above.st_size != below.st_size:
            what.append(CONTENT)
        else:
            what += _of_files(upper, in_upper, in_lower, name, above, below)
    if not os.geteuid() and (above.st_uid, above.st_gid) != (below.st_uid, below.st_gid):
        what.append(OWNER)
    return tuple(what)


def _of_files(
    upper: Upper, in_upper: int, in_lower: int, name: str, above: os.stat_result, below: os.stat_result
) -> list[str]:
    """In which respects two regular files of one size differ besides their modes and owners."""
    what = [TIME] if above.st_mtime_ns != below.st_mtime_ns else []
    with open(upper.file(name, in_upper, above), "rb", buffering=0) as first:
        try:
            fd = Tree.file(upper, name, in_lower, below)
        except PermissionError:
            return [CONTENT]  # closed below: whether it is the same nobody can tell
        with open(fd, "rb", buffering=0) as second:
            while (ours := first.read(_CHUNK)) == second.read(_CHUNK):
                if not ours:
                    differ = attributes(first.fileno()) != attributes(second.fileno())
                    return [*what, ATTRIBUTES] if differ else what
            return [CONTENT]


# --- the whole tree --------------------------------------------------------------------------------------------------


def changes(upper: Upper, lower: Tree, since: int) -> Iterator[Change]:
    """Every change, a directory before what is in it. What cannot be read is told as such, and not descended into."""
    top_above, top_below = os.fstat(upper.fd), os.fstat(lower.fd)
    if what := _of_directory(upper, lower, "", top_above, top_below):
        yield Change("", CHANGED, top_above, top_below, what)
    waiting = [TOP]
    while waiting:
        below: list[Folder] = []
        yield from _in_folder(upper, lower, waiting.pop(), since, below)
        waiting += reversed(below)


def _of_directory(
    upper: Upper, lower: Tree, path: str, above: os.stat_result, below: os.stat_result
) -> tuple[str, ...]:
    what = [] if upper.mode(above) == stat.S_IMODE(below.st_mode) else [MODE]
    if not os.geteuid() and (above.st_uid, above.st_gid) != (below.st_uid, below.st_gid):
        what.append(OWNER)
    try:
        if folder_attributes(upper, path) != folder_attributes(lower, path):
            what.append(ATTRIBUTES)
    except OSError:
        return tuple(what)  # told as unreadable when it is listed
    return tuple(what)


def folder_attributes(tree: Tree, path: str) -> dict[str, bytes]:
    """The `attributes` of a directory. Raises OSError."""
    fd = tree.folder(path)
    try:
        return attributes(fd)
    finally:
        os.close(fd)


def _in_folder(upper: Upper, lower: Tree, folder: Folder, since: int, found: list[Folder]) -> Iterator[Change]:
    """The changes of one directory; its subdirectories go to `found`."""
    fds: list[int] = []
    try:
        try:
            fds.append(upper.folder(folder.path))
            in_lower = -1
            if folder.has_lower:
                fds.append(in_lower := lower.folder(folder.path))
        except OSError as error:
            yield Change(folder.path, UNREADABLE, why=libc.strerror(error.errno or 0))
            return
        in_upper = fds[0]
        pure = folder.pure or is_opaque(in_upper)
        names = set()
        for name in sorted(os.listdir(in_upper)):
            change = _compare(upper, lower, in_upper, in_lower, folder._replace(pure=pure), name, since)
            if change.kind != DELETED:
                names.add(name)
                if change.upper and stat.S_ISDIR(change.upper.st_mode):
                    has_lower = change.lower is not None and stat.S_ISDIR(change.lower.st_mode)
                    found.append(Folder(change.path, pure or not has_lower, has_lower))
            if change.kind == DELETED:
                # In an opaque directory a whiteout says no more than its mark.
                is_news = change.lower is not None and not pure
            else:
                is_news = change.kind != CHANGED or bool(change.what)
            if is_news:
                yield change
        if pure and in_lower >= 0:
            yield from _hidden(folder, in_lower, names, since)
    finally:
        for fd in fds:
            os.close(fd)


def _hidden(folder: Folder, in_lower: int, names: Collection[str], since: int) -> Iterator[Change]:
    """What an opaque directory does not show of the one below: deleted, without a whiteout."""
    for name in sorted(os.listdir(in_lower)):
        if name not in names and (found := lstat(name, in_lower)):
            yield Change(join(folder.path, name), DELETED, lower=found, why=_since(found, since))


def _since(found: os.stat_result, since: int) -> str:
    return "changed since the start" if changed_since(found, since) and not stat.S_ISDIR(found.st_mode) else ""


def _compare(upper: Upper, lower: Tree, in_upper: int, in_lower: int, folder: Folder, name: str, since: int) -> Change:
    path = join(folder.path, name)
    above = below = None
    try:
        above, below = os.stat(name, dir_fd=in_upper, follow_symlinks=False), lstat(name, in_lower)
        if is_whiteout(above, name, in_upper):
            return Change(path, DELETED, lower=below, why=_since(below, since) if below else "")
        if below is None:
            is_gone = in_lower >= 0 and changed_since(os.fstat(in_lower), since) and was_copied(in_upper, name, above)
            return Change(path, ADDED, above, why="perhaps removed since the start" if is_gone else "")
        if stat.S_ISDIR(above.st_mode) and stat.S_ISDIR(below.st_mode):
            what = _of_directory(upper, lower, path, above, below)
            is_conflict = what and changed_since(below, since)
            return Change(path, CHANGED, above, below, what, "changed since the start" if is_conflict else "")
        what = differences(upper, in_upper, in_lower, name, above, below)
        return Change(path, CHANGED, above, below, what, _since(below, since) if what else "")
    except OSError as error:
        return Change(path, UNREADABLE, above, below, why=libc.strerror(error.errno or 0))
