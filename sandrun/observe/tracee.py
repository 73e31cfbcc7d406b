"""A thread whose call waits for us: its memory, its files as it names them, its sockets.

Nothing of this decides anything, so what the thread's fellows change meanwhile makes an observation wrong, not a grant
wide. Everything is reached through one descriptor of /proc/TID: once the thread is gone it answers nothing, also if
its number is given to another.
"""

from __future__ import annotations

import contextlib
import errno
import os
import posixpath
import stat
from typing import TYPE_CHECKING, NamedTuple

from sandrun import libc
from sandrun.observe.events import ABSENT, DIRECTORY, FILE, OTHER, UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_PATH = 4096
"""PATH_MAX, with the null byte."""
RESOLVE_IN_ROOT, RESOLVE_CACHED = 0x10, 0x20  # openat2(2)
AT_FDCWD = libc.AT_FDCWD & 0xFFFFFFFF
_LAST_ADDRESS = 2**63 - 1
_SOL_SOCKET, _SO_TYPE, _SO_PROTOCOL, _SO_DOMAIN = 1, 3, 38, 39  # socket(7)
_MOST_LINKS = 8
_MOST_STEPS = 200
"""Names that are looked up one by one, and parents, for one path: a command can make paths and links that take for ever."""


def _go_on() -> None:
    """Nothing else waits."""


class Found(NamedTuple):
    """What stands behind a path: see `Place`. `is_link`: it is a symlink, which was not to be followed."""

    real: str
    kind: str
    is_link: bool = False


class Tracee:
    """One thread. Raises OSError wherever something of it cannot be had; close it.

    `pause` is called between the steps of a look, each of which takes some microseconds.
    """

    __slots__ = ("_left", "_memory", "_pause", "_proc", "_root", "_root_path", "pid", "program", "tid")

    def __init__(self, tid: int, pause: Callable[[], None] = _go_on) -> None:
        """Raises OSError: ESRCH, ENOENT if it is gone; EACCES, EPERM if nobody may look into it (PR_SET_DUMPABLE)."""
        self.tid, self._pause = tid, pause
        self._memory = self._root = -1
        self._left = 0
        self._proc = os.open(f"/proc/{tid}", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self.pid = int(self._text("status").partition(b"\nTgid:")[2].split(None, 1)[0])
            self._memory = os.open("mem", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._proc)
            self._root = os.open("root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._proc)
            self._root_path = self._link("root")
            self.program = self._inside(self._link("exe"))
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Let go of it."""
        for fd in (self._memory, self._root, self._proc):
            if fd >= 0:
                os.close(fd)
        self._memory = self._root = self._proc = -1

    def is_alive(self) -> bool:
        """Whether the thread is still there, and not another with its number."""
        try:
            self._link("cwd")
        except OSError:
            return False
        return True

    def read(self, address: int, length: int) -> bytes:
        """A copy of its memory, of as much as is there. Raises OSError EFAULT if nothing is."""
        self._pause()
        data = os.pread(self._memory, length, address) if 0 < address <= _LAST_ADDRESS - length else b""
        if not data:
            raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))
        return data

    def string(self, address: int) -> str:
        """The path at this address. Raises OSError; ENAMETOOLONG for what is no path."""
        text, end, _ = self.read(address, MOST_PATH).partition(b"\0")
        if not end:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        return os.fsdecode(text)

    def descriptor(self, fd: int) -> str:
        """The path of what is open as `fd`; AT_FDCWD (also of 32 bits): of the working directory."""
        return self._inside(self._link("cwd" if fd & 0xFFFFFFFF == AT_FDCWD else f"fd/{fd & 0xFFFFFFFF}"))

    def absolute(self, dir_fd: int, path: str) -> str:
        """A path as it means it, from its root; nothing is resolved."""
        return path if path.startswith("/") else posixpath.join(self.descriptor(dir_fd), path)

    def find(self, path: str, *, follows: bool, links: int = _MOST_LINKS) -> Found:
        """What stands behind an absolute path of its. Raises no error: what cannot be found out is UNKNOWN."""
        lexical = posixpath.normpath("/" + path.lstrip("/"))
        if links == _MOST_LINKS:
            self._left = _MOST_STEPS
        try:
            fd = self._open(self._own_proc(lexical), follows=follows)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                return self._find_absent(lexical, follows=follows, links=links)
            return Found(lexical, UNKNOWN)
        try:
            mode, _ = libc.cached_stat(fd)
            real = lexical if _is_proc(lexical) else self._inside(os.readlink(f"/proc/self/fd/{fd}"))
        except OSError:
            return Found(lexical, UNKNOWN)
        finally:
            os.close(fd)
        kind = DIRECTORY if stat.S_ISDIR(mode) else FILE if stat.S_ISREG(mode) else OTHER
        return Found(real, kind, stat.S_ISLNK(mode))

    def socket(self, fd: int) -> tuple[int, int, int]:
        """Domain, type and protocol of an open socket (socket(2)). Raises OSError."""
        pidfd = os.pidfd_open(self.pid)
        try:
            copy = libc.pidfd_getfd(pidfd, fd & 0xFFFFFFFF)
        finally:
            os.close(pidfd)
        try:
            domain, kind, protocol = (libc.getsockopt(copy, _SOL_SOCKET, name) for name in _SOCKET_OPTIONS)
        finally:
            os.close(copy)
        return domain, kind, protocol

    def memory(self) -> dict[str, int]:
        """What proc_pid_status(5) says in bytes (`VmPeak`) and in numbers (`FDSize`); of a process that ends, nothing."""
        rows = (row.split() for row in self._text("status").decode(errors="replace").splitlines())
        return {
            row[0].rstrip(":"): int(row[1]) * (1024 if row[2:] == ["kB"] else 1)
            for row in rows
            if len(row) in (2, 3) and row[1].isascii() and row[1].isdigit()  # the name is the process's own choice
        }

    def length(self, path: str) -> int:
        """Of the regular file behind an absolute path of its, -1 if there is none. Raises no error."""
        self._left = _MOST_STEPS
        try:
            fd = self._open(self._own_proc(path), follows=False)
        except OSError:
            return -1
        try:
            mode, size = libc.cached_stat(fd)
        finally:
            os.close(fd)
        return size if stat.S_ISREG(mode) else -1

    def _find_absent(self, path: str, *, follows: bool, links: int) -> Found:
        """Of what is not there: where it would be made. A symlink that leads nowhere is followed, as open(2) does."""
        folder, name = posixpath.split(path)
        try:
            fd = self._open(folder, follows=True)
        except OSError as error:
            return Found(path, UNKNOWN if error.errno == errno.EAGAIN else ABSENT)
        real = folder
        try:
            real = self._inside(os.readlink(f"/proc/self/fd/{fd}"))
            target = self._target(fd, name) if follows and links else ""
            target = self._beyond(real, target, links - 1) if target else ""
        except OSError:
            target = ""
        finally:
            os.close(fd)
        if target:
            return self.find(target, follows=True, links=links - 1)
        return Found(posixpath.join(real, name), ABSENT)

    # The daemon of a file system in user space (FUSE) may be a process whose own calls wait for us, and while we wait for
    # it no signal and no deadline is looked at. So the kernel is asked for what it knows by itself, and for more only
    # where no daemon answers; what only one could tell raises EAGAIN.

    def _open(self, path: str, *, follows: bool, links: int = _MOST_LINKS) -> int:
        """O_PATH on a normalized path. Raises OSError; EAGAIN: see above."""
        self._pause()
        flags = _LOOK | (0 if follows else os.O_NOFOLLOW)
        name = os.fsencode(path.lstrip("/") or ".")
        if name == b"." or _is_proc(path):
            return libc.openat2(name, flags, resolve=RESOLVE_IN_ROOT, dir_fd=self._root)
        with contextlib.suppress(BlockingIOError):
            return libc.openat2(name, flags, resolve=RESOLVE_IN_ROOT | RESOLVE_CACHED, dir_fd=self._root)
        self._step()
        folder, last = posixpath.split(path)
        at = self._open(folder, follows=True, links=links)
        try:
            target = self._target(at, last) if follows else ""
            if not target:
                return self._entry(at, last)
            real = self._inside(os.readlink(f"/proc/self/fd/{at}"))
        finally:
            os.close(at)
        if not links:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        return self._open(self._beyond(real, target, links - 1), follows=True, links=links - 1)

    def _beyond(self, folder: str, target: str, links: int) -> str:
        """A path without dots for the target of a symlink in this directory."""
        path = "/" if target.startswith("/") else folder
        for part in target.split("/"):
            if part == "..":
                self._step()
                fd = self._open(path, follows=True, links=links)  # what is not there has no parent either
                path = posixpath.dirname(self._inside(os.readlink(f"/proc/self/fd/{fd}")))
                os.close(fd)
            elif part not in ("", "."):
                path = posixpath.join(path, part)
        return path

    def _step(self) -> None:
        if not self._left:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        self._left -= 1

    def _entry(self, at: int, name: str) -> int:
        """O_PATH on one entry of a directory."""
        self._pause()
        entry, flags = os.fsencode(name), _LOOK | os.O_NOFOLLOW
        try:
            return libc.openat2(entry, flags, resolve=RESOLVE_CACHED, dir_fd=at)
        except BlockingIOError:
            if self._is_fuse(at):
                raise
        return libc.openat2(entry, flags, dir_fd=at)

    def _target(self, at: int, name: str) -> str:
        """Where an entry of a directory leads if it is a symlink, else ""."""
        fd = self._entry(at, name)
        try:
            if not stat.S_ISLNK(libc.cached_stat(fd)[0]):
                return ""
            if self._is_fuse(fd):
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            return os.readlink("", dir_fd=fd)
        finally:
            os.close(fd)

    def _is_fuse(self, fd: int) -> bool:
        """Whether a daemon answers for this file, or that cannot be told. Not remembered: numbers of mounts are reused."""
        with open(f"/proc/self/fdinfo/{fd}", "rb") as file:
            number = file.read().partition(b"\nmnt_id:")[2].split(None, 1)[0]
        mountinfo = os.open("mountinfo", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._proc)
        with open(mountinfo, "rb") as rows:
            for row in rows:
                if row.startswith(number + b" "):
                    return row.partition(b" - ")[2].startswith(b"fuse")
        return True

    def _own_proc(self, path: str) -> str:
        """proc(5) shows everybody another /proc/self."""
        head, _, rest = path.removeprefix("/proc/").partition("/")
        own = {"self": str(self.pid), "thread-self": f"{self.pid}/task/{self.tid}"}.get(head, "")
        return f"/proc/{own}/{rest}" if own and _is_proc(path) else path

    def _inside(self, path: str) -> str:
        """A path of this process's, as the tracee sees it: from its own root."""
        if self._root_path != "/" and path.startswith(self._root_path + "/"):
            return path.removeprefix(self._root_path)
        return "/" if path == self._root_path else path

    def _link(self, name: str) -> str:
        self._pause()
        return os.readlink(name, dir_fd=self._proc)

    def _text(self, name: str) -> bytes:
        self._pause()
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._proc)
        try:
            return os.read(fd, MOST_PATH)
        finally:
            os.close(fd)


_LOOK = os.O_PATH | os.O_CLOEXEC
_SOCKET_OPTIONS = (_SO_DOMAIN, _SO_TYPE, _SO_PROTOCOL)


def _is_proc(path: str) -> bool:
    return path.startswith("/proc/")
