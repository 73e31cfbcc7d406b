"""Where an output goes: the target's directory, held open from before the command starts until the output is written."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import stat
from typing import TYPE_CHECKING, NamedTuple

from sandrun import libc
from sandrun.brokered.checks import RefusedError
from sandrun.errors import SandrunError
from sandrun.report import reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sandrun.brokered.declared import Output

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NEW_DIRECTORY = 0o777
_NEW_FILE = 0o666


class Target(NamedTuple):
    """A target. `fd` is of `directory`, an absolute path without links; below it `missing` is to be made first."""

    output: Output
    fd: int
    directory: str
    missing: tuple[str, ...]
    name: str
    uid: int
    gid: int
    """-1: as they come to be."""

    @property
    def path(self) -> str:
        """The target without links on its way."""
        return "/".join((self.directory.rstrip("/"), *self.missing, self.name))


def find(output: Output) -> Target:
    """Open the target's directory, and see that the output could be written there. Raises SandrunError."""
    folder, name = os.path.split(output.path)
    try:
        fd, missing = _nearest(folder, mkdir=output.mkdir)
        try:
            directory = os.readlink(f"/proc/self/fd/{fd}")
            if not missing:
                kind(name, fd)
            if not os.access(f"/proc/self/fd/{fd}", os.W_OK | os.X_OK, effective_ids=True):
                raise RefusedError(f"{directory} may not be written")
            uid, gid = _owner(output.owner)
        except BaseException:
            os.close(fd)
            raise
    except OSError as error:
        hint = "mkdir = true makes it" if isinstance(error, FileNotFoundError) and not output.mkdir else None
        raise SandrunError(f"cannot write output {output.name}: {output.path}: {reason(error)}", hint=hint) from None
    except RefusedError as refused:
        raise SandrunError(f"cannot write output {output.name}: {output.path}: {refused}") from None
    return Target(output, fd, directory, missing, name, uid, gid)


def _nearest(folder: str, *, mkdir: bool) -> tuple[int, tuple[str, ...]]:
    """The directory, or with `mkdir` the nearest one above that is there, and the names that lack."""
    missing: list[str] = []
    while True:
        try:
            return os.open(folder, _DIRECTORY), tuple(reversed(missing))
        except FileNotFoundError:
            if not mkdir or folder == "/" or os.path.lexists(folder):
                raise
            folder, lacking = os.path.split(folder)
            if lacking == "..":
                raise
            missing.append(lacking)


def _owner(text: str) -> tuple[int, int]:
    """The ids that an owner names, -1 for none. Raises RefusedError."""
    if not text:
        return -1, -1
    user, _, group = text.partition(":")
    try:
        uid = int(user) if user.isdecimal() else pwd.getpwnam(user).pw_uid
        gid = -1
        if group:
            gid = int(group) if group.isdecimal() else grp.getgrnam(group).gr_gid
    except (KeyError, OverflowError):
        raise RefusedError(f"there is no such owner: {text}") from None
    is_own = uid == os.geteuid() and gid in (-1, os.getegid(), *os.getgroups())
    if os.geteuid() and not is_own:
        raise RefusedError(f"only root gives files to {text}")
    return uid, gid


def kind(name: str, fd: int) -> os.stat_result | None:
    """What is at the target: a regular file, or None for nothing. Raises RefusedError for anything else, OSError."""
    try:
        found = os.stat(name, dir_fd=fd, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if stat.S_ISREG(found.st_mode):
        return found
    kinds = {stat.S_IFLNK: "a symbolic link", stat.S_IFDIR: "a directory", stat.S_IFIFO: "a fifo"}
    raise RefusedError(f"it is {kinds.get(stat.S_IFMT(found.st_mode), 'no regular file')}")


def is_still_there(target: Target) -> bool:
    """Whether the path of the directory still leads, without links, to the one that was opened."""
    try:
        fd = libc.openat2(
            os.fsencode(target.directory), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, resolve=libc.RESOLVE_NO_SYMLINKS
        )
    except OSError:
        return False
    try:
        return os.path.samestat(os.fstat(fd), os.fstat(target.fd))
    finally:
        os.close(fd)


def folders(target: Target) -> list[str]:
    """The paths of the directories that lack, from above."""
    base = target.directory.rstrip("/")
    return [f"{base}/{'/'.join(target.missing[:count])}" for count in range(1, len(target.missing) + 1)]


def make_missing(target: Target) -> int:
    """Make the directories that lack: a descriptor of the last one. Raises OSError; `remove_made` undoes it."""
    fd = os.dup(target.fd)
    try:
        for name in target.missing:
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, _NEW_DIRECTORY, dir_fd=fd)
            below = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
            os.close(fd)
            fd = below
    except OSError:
        os.close(fd)
        raise
    return fd


def remove_made(made: Sequence[str]) -> None:
    """Remove directories that were made for an output that is not written; what somebody else put there stays."""
    for path in reversed(made):
        with contextlib.suppress(OSError):
            os.rmdir(path)


def create(target: Target, fd: int, temporary: str, data: bytes, old: os.stat_result | None) -> os.stat_result:
    """Write the data to a new file beside the target, durably. Returns what it is. Raises OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    new = os.open(temporary, flags, 0o600, dir_fd=fd)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(new, rest) :]
        _own(target, new, old)
        mode = target.output.mode
        if mode is None:
            mode = stat.S_IMODE(old.st_mode) & 0o777 if old else _NEW_FILE & ~_umask()
        os.fchmod(new, mode)
        os.fsync(new)
        return os.fstat(new)
    finally:
        os.close(new)


def _own(target: Target, new: int, old: os.stat_result | None) -> None:
    """The declared owner; else that of the file that is replaced, as far as this user can give it."""
    uid, gid = target.uid, target.gid
    if uid < 0 and old:
        uid, gid = (old.st_uid, old.st_gid) if not os.geteuid() else (-1, old.st_gid)
        with contextlib.suppress(PermissionError):  # a group of which the caller is no member
            os.fchown(new, uid, gid)
        return
    if (uid, gid) != (-1, -1):
        os.fchown(new, uid, gid)


def _umask() -> int:
    """umask(2), which can only be asked by setting it: this process has one thread by then."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
