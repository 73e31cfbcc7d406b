"""File descriptors: those that are passed on, while all others are closed, and documents for other processes. LIGHT."""

from __future__ import annotations

import errno
import fcntl
import os

from sandrun import libc
from sandrun.errors import SandrunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_SOL_SOCKET, _SO_DOMAIN, _AF_UNIX = 1, 39, 1
LAST = 2**32 - 1
"""The last descriptor for close_range(2)."""
SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL


def check(pass_fds: Iterable[int]) -> None:
    """In the parent: every descriptor to pass on must be one that the caller left open for us.

    One with close-on-exec did not come from the caller, since it would not have survived our own start: it is
    sandrun's own (its signalfd, the pseudoterminal's master), which the command must never get.
    """
    for fd in pass_fds:
        try:
            flags = fcntl.fcntl(fd, fcntl.F_GETFD) if 0 <= fd < 2**31 else None
        except OSError:
            flags = None
        if flags is None or flags & fcntl.FD_CLOEXEC:
            raise SandrunError(
                f"cannot pass file descriptor {fd}: it is not open for the command",
                hint=f"open it in the shell, as in {fd}>FILE, or make it inheritable",
            )


def check_sockets(pass_fds: Iterable[int]) -> None:
    """In the parent of a command with a network of its own: it gets no socket of ours but unix ones.

    A socket stays in the network namespace where it was made, and who holds it may connect it anew to anything there
    (connect(2) with AF_UNSPEC), where nothing else keeps the command from connecting.
    """
    for fd in (0, 1, 2, *pass_fds):
        try:
            family = libc.getsockopt(fd, _SOL_SOCKET, _SO_DOMAIN)
        except OSError as error:
            if error.errno in (errno.ENOTSOCK, errno.EBADF):
                continue
            family = -1
        if family != _AF_UNIX:
            raise SandrunError(
                f"file descriptor {fd} is a network socket, which leads past the command's own network",
                hint=f"redirect {fd} to a pipe, a file or /dev/null",
            )


def gaps(kept: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """The ranges between the descriptors to keep, up to the last possible one."""
    ranges = []
    start = 0
    for fd in sorted(set(kept)):
        if fd > start:
            ranges.append((start, fd - 1))
        start = fd + 1
    return (*ranges, (start, LAST))


def close(ranges: Iterable[tuple[int, int]]) -> None:
    """Close these ranges, in the child."""
    for first, last in ranges:
        libc.close_range(first, last)


def sealed(name: str, data: bytes) -> int:
    """A descriptor of a sealed file with this content, to be read from its start; closed by execve(2).

    Raises OSError, also where RLIMIT_FSIZE, which holds for such files as well, has not room for all of it.
    """
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        at = 0
        while at < len(data):
            at += os.pwrite(fd, data[at:], at)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
    except BaseException:
        os.close(fd)
        raise
    return fd


def is_sealed(fd: int) -> bool:
    """Whether it is a file that nobody can change any more. Raises OSError for what cannot be sealed."""
    return fcntl.fcntl(fd, fcntl.F_GET_SEALS) & SEALS == SEALS
