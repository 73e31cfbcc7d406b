"""A tree of files that somebody hostile may have made or may be changing, reached from one descriptor.

No symbolic link is followed, no mount point is crossed, and nothing outside is reached, whatever the names are:
openat2(2) sees to it. Directories are opened by their path from the top and one at a time, so that no depth runs out
of descriptors; what lies deeper than PATH_MAX cannot be opened, and says so (ENAMETOOLONG).
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from sandrun import libc

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

_INSIDE = libc.RESOLVE_BENEATH | libc.RESOLVE_NO_SYMLINKS | libc.RESOLVE_NO_MAGICLINKS | libc.RESOLVE_NO_XDEV
_ATTEMPTS = 64
"""openat2(2) answers EAGAIN while somebody renames directories; a fight over names ends in an error, not in a loop."""


def join(folder: str, name: str) -> str:
    """The path of `name` in `folder`, both relative to the top, which is ""."""
    return f"{folder}/{name}" if folder else name


def lstat(name: str, folder: int) -> os.stat_result | None:
    """The status of one name in an open directory, or None if there is none; a `folder` of -1 has no names."""
    if folder < 0:
        return None
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


class Tree:
    """A tree; close it, or use it as a context manager."""

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        """`fd` is an O_PATH descriptor of the top, and belongs to the tree from now on."""
        self.fd = fd

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self.fd)

    def folder(self, path: str) -> int:
        """A descriptor of the directory `path` ("" is the top) that can be listed. Raises OSError."""
        return self._open(path, os.O_RDONLY | os.O_DIRECTORY)

    def pin(self, path: str) -> int:
        """An O_PATH descriptor of the directory `path`, whatever its mode. Raises OSError."""
        return self._open(path, os.O_PATH | os.O_DIRECTORY)

    def file(self, name: str, folder: int, expected: os.stat_result) -> int:
        """Open a regular file to read it. Raises OSError, also if it is not the file that was looked at."""
        # O_NONBLOCK: should it have become a fifo since it was looked at, nobody waits for a writer.
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or not os.path.samestat(found, expected):
            os.close(fd)
            raise OSError(errno.ESTALE, "exchanged while it was read")
        return fd

    def _open(self, path: str, flags: int) -> int:
        name = os.fsencode(path) or b"."
        for _ in range(_ATTEMPTS):
            try:
                return libc.openat2(name, flags | os.O_CLOEXEC, resolve=_INSIDE, dir_fd=self.fd)
            except BlockingIOError:
                continue
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))


class Upper(Tree):
    """The upper directory of an overlay, which only we use by now: closed modes do not keep its owner out.

    An ordinary user must open them to look inside. The mode that the command gave is written down before, by inode,
    in the file `modes`, so that it is known however often the tree is read and whatever interrupts it.
    """

    __slots__ = ("_modes", "_path")

    def __init__(self, path: str, modes: str) -> None:
        """Raises OSError. `modes` is the path of the file that keeps the modes."""
        super().__init__(os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC))
        self._path = modes
        self._modes: dict[int, int] = {}
        try:
            with open(modes, encoding="ascii") as lines:
                for line in lines:
                    inode, _, mode = line.partition(" ")
                    # A line that a crash cut short has no end; the mode was not changed yet, so it says nothing.
                    if mode.endswith(".\n"):
                        self._modes.setdefault(int(inode), int(mode[:-2], 8))
        except FileNotFoundError:
            pass

    def mode(self, found: os.stat_result) -> int:
        """The permission bits that the command gave."""
        return self._modes.get(found.st_ino, stat.S_IMODE(found.st_mode))

    def folder(self, path: str) -> int:
        if os.geteuid():
            pinned = self.pin(path)
            try:
                self._unlock(pinned, 0o700)
            finally:
                os.close(pinned)
        return super().folder(path)

    def file(self, name: str, folder: int, expected: os.stat_result) -> int:
        if os.geteuid() and stat.S_ISREG(expected.st_mode) and not expected.st_mode & stat.S_IRUSR:
            pinned = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            try:
                if os.path.samestat(os.fstat(pinned), expected):
                    self._unlock(pinned, 0o400)
            finally:
                os.close(pinned)
        return super().file(name, folder, expected)

    def _unlock(self, pinned: int, needed: int) -> None:
        found = os.fstat(pinned)
        mode = stat.S_IMODE(found.st_mode)
        if mode & needed == needed:
            return
        if found.st_ino not in self._modes:
            fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                os.write(fd, b"\n%d %o.\n" % (found.st_ino, mode))
                os.fdatasync(fd)
            finally:
                os.close(fd)
            self._modes[found.st_ino] = mode
        # chmod(2) refuses no links but by a descriptor, and fchmod(2) does not take this kind of one.
        os.chmod(f"/proc/self/fd/{pinned}", mode | needed)
