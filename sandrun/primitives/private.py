"""Removal of a private directory that the command filled: everything in it was made to harm whoever clears it away.

LIGHT. Nothing is reached by a path of more than one name, no symbolic link is followed, and neither depth, length of
path nor closed permissions stop it. The removing process may be root and the content another user's.
"""

from __future__ import annotations

import errno
import os

_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OWNERS = 0o700


def remove(path: bytes) -> int:
    """Remove the directory and all it holds. Returns 0, or the errno of what could not be removed.

    Call it when no process of the command is left.
    """
    parent, name = os.path.split(path)
    try:
        at = os.open(parent, _FOLDER)
    except OSError as error:
        return error.errno or errno.EIO
    try:
        top = open_folder(name, at)
        try:
            empty(top)
        finally:
            os.close(top)
        os.rmdir(name, dir_fd=at)
    except FileNotFoundError:
        return 0
    except OSError as error:
        return error.errno or errno.EIO
    finally:
        os.close(at)
    return 0


def open_folder(name: bytes | str, at: int) -> int:
    """A directory to be listed, whatever its mode; a symbolic link in its place is an error."""
    pinned = os.open(name, _FOLDER, dir_fd=at)
    try:
        if os.fstat(pinned).st_mode & _OWNERS != _OWNERS:
            _let_in(pinned)
        return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=pinned)
    finally:
        os.close(pinned)


def _let_in(pinned: int) -> None:
    try:
        # chmod(2) has no way to refuse links but by a descriptor, and fchmod(2) does not take this kind of one.
        os.chmod(f"/proc/self/fd/{pinned}", _OWNERS)
    except PermissionError:
        return  # another user's, which root may enter all the same unless it lacks CAP_DAC_OVERRIDE


def empty(top: int) -> None:
    """Remove all in an open directory. Raises OSError.

    The directories of a directory are not descended into but moved up into `top`, so the depth is always one: no
    recursion, two descriptors, and no way back up by "..", which could lead elsewhere by then.
    """
    device = os.fstat(top).st_dev
    moved = 0
    while folders := _remove_files(top):
        for folder in folders:
            below = open_folder(folder, top)
            try:
                if os.fstat(below).st_dev != device:
                    raise OSError(errno.EXDEV, "a mount point")
                for name in _remove_files(below):
                    os.close(open_folder(name, below))  # moving a directory takes the right to write it
                    moved = _move(name, below, top, moved)
            finally:
                os.close(below)
            os.rmdir(folder, dir_fd=top)


def _move(name: str, source: int, top: int, number: int) -> int:
    """Rename into `top` under the next number that is free there; the number after it."""
    while True:
        try:
            os.lstat(str(number), dir_fd=top)
        except FileNotFoundError:
            os.rename(name, str(number), src_dir_fd=source, dst_dir_fd=top)
            return number + 1
        number += 1


def _remove_files(folder: int) -> list[str]:
    """Unlink all that is no directory; the names of the directories."""
    folders = []
    # Names that were not valid UTF-8 come back as they were: os.listdir and os.unlink agree on surrogateescape.
    for name in os.listdir(folder):
        try:
            os.unlink(name, dir_fd=folder)
        except IsADirectoryError:
            folders.append(name)
    return folders
