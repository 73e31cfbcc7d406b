"""Copying one file out of a workspace: its content with its holes, mode, times and ordinary attributes, no privileges."""

from __future__ import annotations

import errno
import os
import stat

_CHUNK = 1 << 20
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
        # Attributes of user.* take the right to write; an access control list would be overwritten by the mode.
        _copy_attributes(source, fd, "user.")
        os.fchmod(fd, without_set_id(mode))
        _copy_attributes(source, fd, "system.posix_acl_access")
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
    finally:
        os.close(fd)
    os.utime(name, ns=(above.st_atime_ns, above.st_mtime_ns), dir_fd=folder, follow_symlinks=False)


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


def _copy_attributes(source: int, target: int, prefix: str) -> None:
    """The attributes of one kind, but not those of overlayfs. A filesystem without such attributes does without."""
    for name in os.listxattr(source):
        if name.startswith(prefix) and not name.startswith("user.overlay."):
            try:
                os.setxattr(target, name, os.getxattr(source, name))
            except OSError as error:
                if error.errno not in _NOT_THERE:
                    raise
