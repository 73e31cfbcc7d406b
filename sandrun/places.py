"""Places made for one launch: the `create` targets, which stay, and the private directories, which go again.

LIGHT. Everything is made before the fork of the command, so that what goes wrong is told before anything ran.
"""

from __future__ import annotations

import os
import stat
import struct

from sandrun import libc
from sandrun.errors import SandrunError
from sandrun.plan.format import KEEP
from sandrun.primitives import fds, ids

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from sandrun.plan.format import Plan

_RECORD = struct.Struct("=ii")
"""From the helper: which path, errno."""
_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def check(plan: Plan) -> None:
    """Raise SandrunError for what the caller got wrong, before anything is made."""
    try:
        threads = len(os.listdir("/proc/self/task"))
    except OSError as error:
        hint = "sandrun needs a mounted /proc" if isinstance(error, FileNotFoundError) else None
        raise SandrunError(f"cannot launch: /proc/self/task: {libc.strerror(error.errno or 0)}", hint=hint) from None
    if threads != 1:
        raise SandrunError(f"cannot launch: this process has {threads} threads, and only the calling one would fork")
    fds.check(plan.pass_fds)
    if plan.loopback:
        fds.check_sockets(plan.pass_fds)
    ids.check(plan)


def create_targets(plan: Plan) -> None:
    """Make the plan's `create` targets that are absent: a final "/" is a directory with its parents, else a file.

    A helper process does it with the ids and capabilities of the command, so that a root launcher never makes a file
    where the command's user may not, whatever that user puts in the way. No symbolic link is followed.
    Raises SandrunError naming the path.
    """
    if not plan.create:
        return
    reader, writer = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if not pid:
        _helper(plan, writer)
    os.close(writer)
    record = os.read(reader, _RECORD.size)
    os.close(reader)
    _, status = os.waitpid(pid, 0)
    if len(record) == _RECORD.size:
        index, number = _RECORD.unpack(record)
        raise SandrunError(f"cannot create {os.fsdecode(plan.create[index])}: {libc.strerror(number)}")
    if status:
        raise SandrunError(f"cannot create {os.fsdecode(plan.create[0])}: the helper process ended with {status:#x}")


def _helper(plan: Plan, writer: int) -> NoReturn:
    index, status = 0, 1
    try:
        ids.set_groups(plan)
        ids.set_gid(plan)
        ids.set_uid(plan)
        if plan.umask != KEEP:
            os.umask(plan.umask)
        permitted = plan.permitted & libc.capget()[1]
        libc.capset(libc.capability_sets(permitted, permitted, 0))
        for index, path in enumerate(plan.create):  # noqa: B007  the index is for the record below
            _make(path)
        status = 0
    except OSError as error:
        os.write(writer, _RECORD.pack(index, error.errno or 0))
    finally:
        os._exit(status)


def _make(path: bytes) -> None:
    _, *folders, last = path.split(b"/")
    at = os.open("/", _FOLDER)
    for name in folders:
        below = _enter(at, name, make=not last)
        os.close(at)
        at = below
    if last:
        try:
            os.mknod(last, stat.S_IFREG | 0o666, dir_fd=at)
        except FileExistsError:
            return  # what it is, a file or not, is looked at when it is granted
    os.close(at)


def _enter(at: int, name: bytes, *, make: bool) -> int:
    try:
        return os.open(name, _FOLDER, dir_fd=at)
    except FileNotFoundError:
        if not make:
            raise
        os.mkdir(name, dir_fd=at)
    # Should somebody have put a symbolic link in its place by now, this refuses it.
    return os.open(name, _FOLDER, dir_fd=at)


def make_private(plan: Plan) -> tuple[bytes, ...]:
    """A fresh directory for each of `plan.private_dirs`, in the caller's TMPDIR or /tmp, for the command's user only.

    Where its ids are mapped by helpers, for the caller only: the view then mounts something of the command's on it.

    Raises SandrunError if none can be made; then nothing is left behind.
    """
    made: list[bytes] = []
    try:
        made.extend(_make_one(plan, name) for name in plan.private_dirs)
    except BaseException:
        remove_private(made)
        raise
    return tuple(made)


def remove_private(paths: tuple[bytes, ...] | list[bytes]) -> None:
    """Remove private directories in which no command has run yet."""
    for path in paths:
        try:
            os.rmdir(path)
        except OSError:
            continue  # the failure on the way here is the one to tell


def private_base() -> bytes:
    """Where private directories are made."""
    base = os.environb.get(b"TMPDIR", b"")
    if not base.startswith(b"/") or not os.path.isdir(base):
        base = b"/tmp"
    return os.path.realpath(base)


def _make_one(plan: Plan, name: bytes) -> bytes:
    path = private_base() + b"/sandrun-" + os.urandom(8).hex().encode()
    try:
        os.mkdir(path, 0o700)
        _give(path, plan)
    except OSError as error:
        number = error.errno or 0
        raise SandrunError(
            f"cannot make a private {os.fsdecode(name)}: {os.fsdecode(path)}: {libc.strerror(number)}"
        ) from None
    return path


def _give(path: bytes, plan: Plan) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        status = os.fstat(fd)
        if status.st_uid != os.geteuid() or not stat.S_ISDIR(status.st_mode):
            raise FileExistsError(17, "exchanged by another user")
        if (plan.uid != KEEP or plan.gid != KEEP) and not plan.id_helpers:
            os.fchown(fd, plan.uid, plan.gid)
        os.fchmod(fd, 0o700)
    finally:
        os.close(fd)
