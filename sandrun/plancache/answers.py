"""The facts of an entry: their kinds, how answers are written down, and each question asked again. LIGHT.

A fact is `kind:u8 name:u16 value:u32`, the name, a NUL and the value, in the machine's own byte order.
sandrun/native/facts.c asks the same questions in C and compares the same bytes.
"""

from __future__ import annotations

import fcntl
import os
import resource
import stat
import struct

from sandrun import libc
from sandrun.digest import sha256

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

LSTAT, STAT, READLINK, LISTDIR, MODES, FILE, CONTENT, ENV, RLIMIT = range(1, 10)
DESCRIPTOR, DESCRIPTOR_PATH, DEVICE, SOCKET, UNIX_FREE, KERNEL = range(10, 16)
HEAD = struct.Struct("=BHI")
STATUS = struct.Struct("=IIIIQQ")
"""mode, uid, gid, links, device, inode"""
IDENTITY = struct.Struct("=IIIQQQQQ")
"""mode, uid, gid, device, inode, size, mtime, ctime"""
STAMP = struct.Struct("=QQQ")
"""device, inode, ctime"""
NO_STAMP = bytes(STAMP.size)
"""Of a directory that is to be listed each time."""
WORD, WIDE = struct.Struct("=I"), struct.Struct("=Q")
EVERYTHING = 2**32 - 1
RET_ERRNO = WORD.pack(0x00050000)
SOL_SOCKET, SO_TYPE, SO_ACCEPTCONN, SO_PROTOCOL, SO_DOMAIN, SOCK_DGRAM = 1, 3, 30, 38, 39, 2  # socket(7), socket(2)


def hidden(salt: bytes, value: bytes | None) -> bytes:
    """What a variable is, as nobody can read it from the entry."""
    return b"" if value is None else sha256(salt + value)


def status(found: os.stat_result | None) -> bytes:
    """What is at a path. How many directories a directory has is of no interest, and changes."""
    if found is None:
        return b""
    links = 0 if stat.S_ISDIR(found.st_mode) else found.st_nlink
    return STATUS.pack(found.st_mode, found.st_uid, found.st_gid, links, found.st_dev, found.st_ino)


def identity(found: os.stat_result | None) -> bytes:
    """Which file this is, and as of when."""
    if found is None:
        return b""
    ids = (found.st_mode, found.st_uid, found.st_gid, found.st_dev, found.st_ino, found.st_size)
    return IDENTITY.pack(*ids, found.st_mtime_ns % 2**64, found.st_ctime_ns % 2**64)


def stamp(found: os.stat_result) -> bytes:
    """Which directory this is, and as of when its names are (inode(7): each new name is a change of its status)."""
    return STAMP.pack(found.st_dev, found.st_ino, found.st_ctime_ns % 2**64)


def names(found: Iterable[bytes] | None, at: bytes = NO_STAMP) -> bytes:
    """The names in a directory, and the stamp that spares listing it while it is the same."""
    return b"" if found is None else b"\1" + at + b"".join(name + b"\0" for name in sorted(found))


def modes(found: Iterable[tuple[bytes, int]] | None, at: bytes = NO_STAMP) -> bytes:
    """The same, each with the mode of lstat(2), 0 if that failed. A change of a mode does not show in the stamp."""
    if found is None:
        return b""
    return b"\1" + at + b"".join([name + b"\0" + WORD.pack(mode) for name, mode in sorted(found)])


def content(limit: int, data: bytes | None) -> bytes:
    """What a file of the kernel's says, up to `limit` bytes."""
    return WORD.pack(limit) + (b"\0" if data is None else b"\1" + data)


def descriptor(mode: int, flags: int) -> bytes:
    """The kind of an open descriptor as far as plans may tell them apart: whether it is a directory, a socket, a file open
    for reading and writing, or anything else, which is called a pipe. So a loop may have a terminal, a file or a pipe."""
    return WORD.pack(descriptor_kind(mode, flags))


def descriptor_kind(mode: int, flags: int) -> int:
    """The same, as type bits of a mode."""
    kind = stat.S_IFMT(mode)
    is_both = kind == stat.S_IFREG and flags & os.O_ACCMODE == os.O_RDWR
    return kind if is_both or kind in (stat.S_IFDIR, stat.S_IFSOCK) else stat.S_IFIFO


def read_content(path: str | bytes, limit: int) -> bytes | None:
    """The first bytes of a regular file, in as many reads as it takes; None if it cannot be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except (OSError, ValueError):
        return None
    parts = []
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        while limit and (part := os.read(fd, min(limit, 1 << 16))):
            parts.append(part)
            limit -= len(part)
    except OSError:
        return None
    finally:
        os.close(fd)
    return b"".join(parts)


def find(path: str | bytes, *, follow: bool) -> os.stat_result | None:
    """stat(2) or lstat(2); None if it fails."""
    try:
        return os.stat(path, follow_symlinks=follow)
    except (OSError, ValueError):
        return None


def kernel() -> bytes:
    """What the kernel says of itself and of this process."""
    system = os.uname()
    results = (
        lambda: libc.landlock_create_ruleset(None, libc.LANDLOCK_CREATE_RULESET_VERSION),
        lambda: libc.seccomp(libc.SECCOMP_GET_ACTION_AVAIL, 0, RET_ERRNO),
        lambda: libc.prctl(libc.PR_GET_SECCOMP),
        lambda: libc.prctl(libc.PR_GET_SECUREBITS),
        lambda: libc.prctl(libc.PR_GET_NO_NEW_PRIVS),
    )
    value = b"".join(os.fsencode(name) + b"\0" for name in (system.release, system.version, system.machine))
    value += b"".join(struct.pack("=q", _result(ask)) for ask in results)
    return value + b"".join(map(WIDE.pack, libc.capget()))


def hold(data: bytes, salt: bytes) -> bool:
    """Whether all of these facts hold now."""
    at = 0
    while at < len(data):
        if at + HEAD.size > len(data):
            return False
        kind, length, size = HEAD.unpack_from(data, at)
        start = at + HEAD.size
        at = start + length + 1 + size
        ask = ASK.get(kind)
        if at > len(data) or data[start + length] or ask is None:
            return False
        if ask(data[start : start + length], data[at - size : at], salt) != data[at - size : at]:
            return False
    return True


# --- each question: from the name of the fact, the value that is expected, and the salt ------------------------------


def _readlink(name: bytes, _value: bytes, _salt: bytes) -> bytes:
    try:
        return os.readlink(name)
    except OSError:
        return b""


def _listdir(name: bytes, value: bytes, _salt: bytes) -> bytes:
    at = _stamp_in(value)
    try:
        return value if stamp(os.stat(name)) == at else names(os.listdir(name), at)
    except OSError:
        return b""


def _modes(name: bytes, value: bytes, _salt: bytes) -> bytes:
    at = _stamp_in(value)
    try:
        folder = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        is_same = stamp(os.fstat(folder)) == at
        found = _rows(value) if is_same else [(each, 0) for each in os.listdir(name)]
        return modes([(each, _mode(each, mode, folder)) for each, mode in found], at)
    except OSError:
        return b""
    finally:
        os.close(folder)


def _stamp_in(value: bytes) -> bytes:
    """The stamp of when it was recorded, which an answer repeats."""
    return value[1 : 1 + STAMP.size].ljust(STAMP.size, b"\0")


def _rows(value: bytes) -> Iterable[tuple[bytes, int]]:
    """The names and modes in the value of a fact, as far as they are whole."""
    at = 1 + STAMP.size
    while at < (end := value.find(b"\0", at)) <= len(value) - 1 - WORD.size:
        yield value[at:end], WORD.unpack_from(value, end + 1)[0]
        at = end + 1 + WORD.size


def _mode(name: bytes, known: int, folder: int) -> int:
    """The mode of lstat(2). That of a link is the same for ever (symlink(7)), and a new file is a change of its directory."""
    try:
        return known if stat.S_ISLNK(known) else os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
    except OSError:
        return 0


def _content(name: bytes, value: bytes, _salt: bytes) -> bytes:
    (limit,) = WORD.unpack(value[:4].ljust(4, b"\0"))
    return content(limit, read_content(name, limit))


def _by_number(ask: Callable[[int], bytes]) -> Callable[[bytes, bytes, bytes], bytes]:
    """A question about the number that the value starts with."""

    def again(_name: bytes, value: bytes, _salt: bytes) -> bytes:
        try:
            return value[:4] + ask(WORD.unpack(value[:4].ljust(4, b"\0"))[0])
        except (OSError, ValueError, OverflowError):
            return value[:4]

    return again


def _rlimit(number: int) -> bytes:
    return b"".join(WIDE.pack(limit % 2**64) for limit in resource.getrlimit(number))


def _descriptor(fd: int) -> bytes:
    return descriptor(os.fstat(fd).st_mode, fcntl.fcntl(fd, fcntl.F_GETFL))


def _device(fd: int) -> bytes:
    return os.readlink(b"/proc/self/fd/%d" % fd) if stat.S_ISCHR(os.fstat(fd).st_mode) else b""


def _socket(fd: int) -> bytes:
    return b"".join(WORD.pack(libc.getsockopt(fd, SOL_SOCKET, option)) for option in (SO_DOMAIN, SO_PROTOCOL))


def _unix_free(fd: int) -> bytes:
    import socket  # noqa: PLC0415 (hardly any launch has one)

    if libc.getsockopt(fd, SOL_SOCKET, SO_TYPE) == SOCK_DGRAM:
        return b"\1"
    if libc.getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN):
        return b"\0"
    with socket.socket(fileno=os.dup(fd)) as copy:
        try:
            copy.getpeername()
        except OSError:
            return b"\1"
    return b"\0"


def _result(ask: Callable[[], int]) -> int:
    try:
        return ask()
    except OSError as error:
        return -(error.errno or 0)


ASK: dict[int, Callable[[bytes, bytes, bytes], bytes]] = {
    LSTAT: lambda name, _value, _salt: status(find(name, follow=False)),
    STAT: lambda name, _value, _salt: status(find(name, follow=True)),
    READLINK: _readlink,
    LISTDIR: _listdir,
    MODES: _modes,
    FILE: lambda name, _value, _salt: identity(find(name, follow=True)),
    CONTENT: _content,
    ENV: lambda name, _value, salt: hidden(salt, os.environb.get(name)),
    RLIMIT: _by_number(_rlimit),
    DESCRIPTOR: _by_number(_descriptor),
    DESCRIPTOR_PATH: _by_number(lambda fd: os.readlink(b"/proc/self/fd/%d" % fd)),
    DEVICE: _by_number(_device),
    SOCKET: _by_number(_socket),
    UNIX_FREE: _by_number(_unix_free),
    KERNEL: lambda _name, _value, _salt: kernel(),
}
