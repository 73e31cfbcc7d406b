"""A uid of its own for one launch: found, locked, and free again when nothing of it is left.

The lock is flock(2) on a file of /run/sandrun/uids, whose descriptor the supervisor and the init process of the pid
namespace hold: it is free once both are gone, however they ended. init closes its files a moment before the kernel kills
what else lives in its namespace, so a number counts as free only if no process has it either.
"""

from __future__ import annotations

import contextlib
import fcntl
import grp
import os
import pwd
import stat

from sandrun.errors import SandrunError
from sandrun.libc import strerror
from sandrun.plan.account import FIRST, LAST
from sandrun.plan.format import FIELDS, Plan

DIRECTORY = "/run/sandrun/uids"


class Claim:
    """A uid and gid that nobody else has while `descriptor` is open in some process."""

    __slots__ = ("descriptor", "number")

    def __init__(self, number: int, descriptor: int) -> None:
        self.number = number
        self.descriptor = descriptor

    def apply(self, plan: Plan) -> Plan:
        """The plan for this user."""
        fields = {name: getattr(plan, name) for name, _, _ in FIELDS}
        return Plan(**fields | {"uid": self.number, "gid": self.number})

    def release(self) -> None:
        """Give the number back. While a process still has it, the file stays for the lock that init holds."""
        if not _has_processes(self.number):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(_path(self.number))
        os.close(self.descriptor)


def claim() -> Claim:
    """Lock a number that no account, group or process has and no other launch holds. Raises SandrunError."""
    try:
        _make_directory()
        _remove_leftovers()
        count = LAST - FIRST + 1
        start = int.from_bytes(os.urandom(4), "little")
        for step in range(count):
            number = FIRST + (start + step) % count
            descriptor = -1 if _is_known(number) else _lock(number)
            if descriptor >= 0:
                return Claim(number, descriptor)
    except OSError as error:
        raise SandrunError(f"cannot have a user of its own: {DIRECTORY}: {strerror(error.errno or 0)}") from None
    raise SandrunError(f"cannot have a user of its own: every number from {FIRST} to {LAST} is in use")


def _path(number: int) -> str:
    return f"{DIRECTORY}/{number}"


def _make_directory() -> None:
    """Root's, and nobody else's to write: who could replace a lock file could share a uid. Raises OSError."""
    for path in (os.path.dirname(DIRECTORY), DIRECTORY):
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o755)
        found = os.lstat(path)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
            raise PermissionError(1, "not a directory of root alone")


def _is_known(number: int) -> bool:
    for look_up in (pwd.getpwuid, grp.getgrgid):
        with contextlib.suppress(KeyError):
            look_up(number)
            return True
    return False


def _remove_leftovers() -> None:
    """Remove the files of numbers that nobody holds any longer: their supervisors were killed. Raises OSError."""
    for name in os.listdir(DIRECTORY):
        if name.isdecimal() and FIRST <= int(name) <= LAST and (descriptor := _lock(int(name))) >= 0:
            Claim(int(name), descriptor).release()


def _lock(number: int) -> int:
    """A descriptor with the lock, or -1 if somebody holds it or a process has the number. Raises OSError."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(_path(number), flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The holder before may have removed the file in between: then the lock is on nothing.
        if _is_same(descriptor, _path(number)) and not _has_processes(number):
            return descriptor
    except BlockingIOError:
        pass
    os.close(descriptor)
    return -1


def _is_same(descriptor: int, path: str) -> bool:
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return False
    mine = os.fstat(descriptor)
    return (found.st_dev, found.st_ino) == (mine.st_dev, mine.st_ino)


def _has_processes(number: int) -> bool:
    """Whether a process has this real uid: getpriority(2) looks for one."""
    try:
        os.getpriority(os.PRIO_USER, number)
    except ProcessLookupError:
        return False
    return True
