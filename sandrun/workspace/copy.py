"""Copying one file out of a workspace: its content with its holes, mode, times and ordinary attributes, no privileges."""

from __future__ import annotations

import errno
import os
import stat

_CHUNK = 1 << 20
_ACLS = ("system.posix_acl_access", "system.posix_acl_default")
_NOT_THERE = (errno.ENOTSUP, errno.EPERM, errno.EACCES, errno.EINVAL, errno.ENODATA)


def without_set_id(mode: int) -> int:
    """The permission bits that a committed file gets."""
    return mode & 0o777


def copy_file(
    source: int, name: str, folder: int, mode: int, above: os.stat_result, below: os.stat_result | None
) -> None:
    """Make the new file `name` in an open directory. Raises OSError; an incomplete file may be left then."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(name, flags, 0o600, dir_fd=folder)
    try:
        _copy_content(source, fd, above.st_size)
        own(fd, above, below)
        take_over(attributes(source), fd, without_set_id(mode))
        os.utime(fd, ns=(above.st_atime_ns, above.st_mtime_ns))
    finally:
        os.close(fd)


def own(fd: int, above: os.stat_result, below: os.stat_result | None) -> None:
    """The owner is who calls; root gives away what the command gave away. The group of what is replaced stays."""
    if not os.geteuid():
        os.fchown(fd, above.st_uid, above.st_gid)
    elif below is not None and below.st_gid != os.fstat(fd).st_gid:
        try:
            os.fchown(fd, -1, below.st_gid)
        except PermissionError:
            return  # a group of which we are no member


def own_link(name: str, folder: int, above: os.stat_result) -> None:
    """The owner and the times of a new symbolic link; it has no mode."""
    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        # By descriptor: whoever owns the directory could have put something else of root's under this name.
        if not stat.S_ISLNK(os.fstat(fd).st_mode):
            raise OSError(errno.ESTALE, "exchanged while it was made")
        if not os.geteuid():
            os.chown(f"/proc/self/fd/{fd}", above.st_uid, above.st_gid)
        os.utime(f"/proc/self/fd/{fd}", ns=(above.st_atime_ns, above.st_mtime_ns))
    finally:
        os.close(fd)


def _copy_content(source: int, target: int, size: int) -> None:
    """Only what is written in a sparse file is read: its size may be anything."""
    at = 0
    while at < size:
        try:
            at = os.lseek(source, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            break  # a hole up to the end
        end = min(os.lseek(source, at, os.SEEK_HOLE), size)
        while at < end:
            data = os.pread(source, min(_CHUNK, end - at), at)
            if not data:
                raise OSError(errno.ESTALE, "became shorter while it was read")
            at += os.pwrite(target, data, at)
    os.ftruncate(target, size)


def attributes(file: int | str) -> dict[str, bytes]:
    """The attributes that belong to a change: of user.* those that are not overlayfs's, and access control lists.

    Raises OSError, but a filesystem without attributes has none.
    """
    try:
        names = os.listxattr(file)
    except OSError as error:
        if error.errno != errno.ENOTSUP:
            raise
        return {}
    ours = [name for name in names if name.startswith("user.") and not name.startswith("user.overlay.")]
    return {name: os.getxattr(file, name) for name in (*ours, *(name for name in _ACLS if name in names))}


def take_over(wanted: dict[str, bytes], target: int | str, mode: int) -> None:
    """Give a file or directory these attributes and no others, and this mode. Raises OSError.

    What the filesystem of the target cannot have is left out.
    """
    # Attributes of user.* take the right to write, and a mode would overwrite an access control list.
    _set_attributes(wanted, target, [name for name in wanted if name not in _ACLS])
    os.chmod(target, mode)
    _set_attributes(wanted, target, [name for name in wanted if name in _ACLS])
    for name in attributes(target).keys() - wanted.keys():
        os.removexattr(target, name)


def _set_attributes(wanted: dict[str, bytes], target: int | str, names: list[str]) -> None:
    for name in names:
        try:
            os.setxattr(target, name, wanted[name])
        except OSError as error:
            if error.errno not in _NOT_THERE:
                raise
