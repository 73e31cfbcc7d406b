"""The place for the workspaces of a user: where it is, whom it belongs to, and whether overlayfs can use it."""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING

from sandrun import libc
from sandrun.errors import SandrunError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SYSTEM_DIRECTORY = "/var/lib/sandrun"
_NO_UPPER = ("overlay", "nfs", "nfs4", "cifs", "smb3", "9p", "vfat", "exfat", "ecryptfs", "fuse", "fuseblk", "aufs")
"""Filesystems that cannot hold the upper directory of overlayfs, or not reliably: no whiteouts, no user.* attributes."""
ELSEWHERE = "name a directory elsewhere, of a local filesystem such as ext4, xfs or btrfs, in XDG_STATE_HOME"


def directory() -> str:
    """Where this user's workspaces are. Raises SandrunError without a home."""
    base = os.environ.get("XDG_STATE_HOME", "")
    if base.startswith("/"):
        return os.path.join(base, "sandrun", "workspaces")
    if not os.geteuid():
        return os.path.join(SYSTEM_DIRECTORY, "workspaces")
    home = os.path.expanduser("~")
    if not home.startswith("/"):
        raise SandrunError("no place for workspaces: neither HOME nor XDG_STATE_HOME is an absolute path")
    return os.path.join(home, ".local", "state", "sandrun", "workspaces")


def trusted() -> str:
    """`directory()`, if nobody but the caller and root can have made or exchanged what is there.

    XDG_STATE_HOME is inherited, by su(1) and `sudo -E` too, and who makes a workspace decides where its commit writes.
    Raises SandrunError.
    """
    base = directory()
    own = (base, os.path.dirname(base))
    for place in dict.fromkeys((*_ancestors(base), *_ancestors(os.path.realpath(base)))):
        try:
            found = os.lstat(place)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise SandrunError(
                f"cannot use workspaces: {place}: {libc.strerror(error.errno or 0)}", hint=ELSEWHERE
            ) from None
        if not (_is_own(found) if place in own else _is_believed(found)):
            raise SandrunError(
                f"cannot use workspaces: {place}: not a directory of this user alone",
                hint="it must belong to you or root, closed to writing by others; or change or unset XDG_STATE_HOME",
            )
    return base


def _is_own(found: os.stat_result) -> bool:
    return stat.S_ISDIR(found.st_mode) and found.st_uid in (os.geteuid(), 0) and not found.st_mode & 0o022


def _is_believed(found: os.stat_result) -> bool:
    """Whether no other user can exchange what is in it; a group that may is the owner's own choice, as umask(2) is."""
    # In a user namespace root is whoever owns the root directory.
    if found.st_uid not in (os.geteuid(), 0, os.stat("/").st_uid):
        return False
    is_shared = found.st_mode & 0o002 and not found.st_mode & stat.S_ISVTX
    return stat.S_ISLNK(found.st_mode) or not is_shared


def _ancestors(path: str) -> Iterator[str]:
    """The path, and each directory above it."""
    path = os.path.normpath(path)
    while path not in ("/", "//"):
        yield path
        path = os.path.dirname(path)


def make() -> str:
    """`trusted()`, made if it is not there. Raises SandrunError."""
    base = trusted()
    try:
        os.makedirs(os.path.dirname(os.path.dirname(base)), exist_ok=True)
        for place in (os.path.dirname(base), base):
            with contextlib.suppress(FileExistsError):
                os.mkdir(place, 0o700)
    except OSError as error:
        raise SandrunError(
            f"cannot make a workspace: {error.filename or base}: {libc.strerror(error.errno or 0)}", hint=ELSEWHERE
        ) from None
    return trusted()


def check(base: str, directories: Sequence[str]) -> None:
    """Raise SandrunError if no workspace of these directories can be in `base`."""
    real = os.path.realpath(base)
    for place in directories:
        top = place.rstrip("/") + "/"
        if (real + "/").startswith(top) or place.startswith(real + "/"):
            raise SandrunError(
                f"cannot overlay {place}: workspaces are stored in {real}, and none may lie inside its own tree",
                hint="overlay a directory further down, or name another place in XDG_STATE_HOME",
            )
    fstype = _fstype(base)
    if fstype.partition(".")[0] in _NO_UPPER:
        raise SandrunError(
            f"cannot make a workspace: {base}: overlayfs cannot keep changes on {fstype}", hint=ELSEWHERE
        )


def _fstype(path: str) -> str:
    """The type of the filesystem as mountinfo names it, or "" if it cannot be told."""
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        with open(f"/proc/self/fdinfo/{fd}", "rb") as lines:
            mount = next((line.split()[1] for line in lines if line.startswith(b"mnt_id:")), b"")
        with open("/proc/self/mountinfo", "rb") as lines:
            for line in lines:
                words = line.split(b" ")
                if words[0] == mount:
                    return os.fsdecode(words[words.index(b"-", 6) + 1])
    finally:
        os.close(fd)
    return ""
