"""From a call that waits to an Event: what its arguments name, and which access rights that takes.

The rights are those that the kernel's Landlock hooks ask for (landlock(7)), by what is there at this moment.
"""

from __future__ import annotations

import errno
import os
import posixpath
import socket
import struct
from typing import TYPE_CHECKING

from sandrun.observe import calls
from sandrun.observe.events import ABSENT, DIRECTORY, Address, Place
from sandrun.primitives.landlock import FS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sandrun.observe.tracee import Found, Tracee

    Reading = tuple[tuple[Place, ...], Address | None]

O_PATH, O_TMPFILE = 0o10000000, 0o20200000
O_NOFOLLOW, O_DIRECTORY = os.O_NOFOLLOW, os.O_DIRECTORY
AT_EMPTY_PATH = 0x1000
_MODES = {
    0o140000: "make_sock",
    0o120000: "make_sym",
    0o060000: "make_block",
    0o020000: "make_char",
    0o010000: "make_fifo",
}
_FORMAT = 0o170000
_MOST_SOCKADDR = 128
_SOCK_TYPES = {1: "tcp", 2: "udp"}
_PROTOCOLS = {"tcp": (0, 6), "udp": (0, 17)}


def read(tracee: Tracee, syscall: str, arguments: tuple[int, ...]) -> Reading:
    """The places and the address that a call names. Raises OSError, ValueError or struct.error where it cannot be
    read, which is mostly where the kernel will find so too."""
    shape = calls.SHAPES.get(syscall)
    if isinstance(shape, calls.Name):
        return tuple(_named(tracee, syscall, shape, arguments)), None
    if isinstance(shape, calls.Opening):
        return tuple(_opened(tracee, shape, arguments)), None
    if isinstance(shape, calls.Moving):
        return tuple(_moved(tracee, shape, arguments)), None
    if isinstance(shape, calls.Meeting):
        return _met(tracee, shape, arguments)
    return (), None


def _path(tracee: Tracee, arguments: tuple[int, ...], path: int, dir_fd: int) -> tuple[str, bool]:
    """The absolute path, and whether a final slash asks for a directory. An empty one is ("", False)."""
    text = tracee.string(arguments[path])
    if not text:
        return "", False
    return tracee.absolute(arguments[dir_fd] if dir_fd >= 0 else -100, text), text.endswith("/")


def _place(path: str, found: Found, act: str, *rights: str) -> Place:
    return Place(path, found.real, found.kind, act, sum(FS[name] for name in dict.fromkeys(rights)))


def _named(tracee: Tracee, syscall: str, name: calls.Name, arguments: tuple[int, ...]) -> Iterator[Place]:
    path, is_slashed = _path(tracee, arguments, name.path, name.dir_fd)
    flags = arguments[name.flags] if name.flags >= 0 else 0
    if not path:
        # The descriptor itself: only executing it (fexecve(3)) is news.
        if not flags & AT_EMPTY_PATH or name.act != "execute":
            return
        path = tracee.descriptor(arguments[name.dir_fd])
    follows = (name.follows and not flags & calls.AT_SYMLINK_NOFOLLOW) or is_slashed
    found = tracee.find(path, follows=follows)
    if name.act == "create":
        yield _place(path, found, "create", _made(syscall, arguments))
    elif name.act == "remove":
        is_folder = syscall == "rmdir" or (syscall == "unlinkat" and bool(arguments[2] & calls.AT_REMOVEDIR))
        yield _place(path, found, "remove", "remove_dir" if is_folder else "remove_file")
    elif name.act == "execute":
        yield _place(path, found, "execute", "execute", "read_file")
    else:
        yield _place(path, found, name.act, *(("truncate",) if syscall == "truncate" else ()))


def _made(syscall: str, arguments: tuple[int, ...]) -> str:
    """The right to make this kind of entry."""
    if syscall in calls.MAKE:
        return calls.MAKE[syscall]
    return _MODES.get(arguments[1 if syscall == "mknod" else 2] & _FORMAT, "make_reg")


def _opened(tracee: Tracee, opening: calls.Opening, arguments: tuple[int, ...]) -> Iterator[Place]:
    path, is_slashed = _path(tracee, arguments, opening.path, opening.dir_fd)
    if not path:
        return
    flags = arguments[opening.flags] & 0xFFFFFFFF if opening.flags >= 0 else opening.fixed
    if opening.is_how:
        (flags,) = struct.unpack("=Q", tracee.read(arguments[opening.flags], 8))
    creates = bool(flags & os.O_CREAT) and not flags & O_PATH
    found = tracee.find(path, follows=is_slashed or not (flags & O_NOFOLLOW or (creates and flags & os.O_EXCL)))
    act, rights = opening_rights(flags, found.kind)
    yield _place(path, found, act, *rights)


def opening_rights(flags: int, kind: str) -> tuple[str, tuple[str, ...]]:
    """The act and the access rights of open(2) with these flags on what is of this kind."""
    if flags & O_PATH:
        return "look", ()
    if flags & O_TMPFILE == O_TMPFILE:
        return "create", ("write_file", *(("read_file",) if flags & os.O_RDWR else ()))
    mode = flags & os.O_ACCMODE
    reads, writes = mode != os.O_WRONLY, mode != os.O_RDONLY
    if kind == DIRECTORY or (flags & O_DIRECTORY and kind != ABSENT):
        return "read", ("read_dir",)
    rights = (
        *(("read_file",) if reads else ()),
        *(("write_file",) if writes else ()),
        *(("truncate",) if flags & os.O_TRUNC else ()),
    )
    if kind == ABSENT and flags & os.O_CREAT:
        return "create", ("make_reg", *rights)
    return "write" if writes or flags & os.O_TRUNC else "read", rights


def _moved(tracee: Tracee, moving: calls.Moving, arguments: tuple[int, ...]) -> Iterator[Place]:
    old, is_slashed = _path(tracee, arguments, moving.old.path, moving.old.dir_fd)
    new, _ = _path(tracee, arguments, moving.new.path, moving.new.dir_fd)
    flags = arguments[moving.old.flags] if moving.old.flags >= 0 else 0
    if not new or not old:
        return
    source = tracee.find(old, follows=is_slashed or bool(moving.is_link and flags & calls.AT_SYMLINK_FOLLOW))
    target = tracee.find(new, follows=False)
    is_folder = source.kind == DIRECTORY
    make = "make_dir" if is_folder else "make_sym" if source.is_link else "make_reg"
    refer = ("refer",) if posixpath.dirname(source.real) != posixpath.dirname(target.real) else ()
    if moving.is_link:
        yield _place(old, source, "read", *refer)
    else:
        yield _place(old, source, "remove", "remove_dir" if is_folder else "remove_file", *refer)
    replaced = () if target.kind == ABSENT else ("remove_dir" if target.kind == DIRECTORY else "remove_file",)
    yield _place(new, target, "create", make, *replaced, *refer)


def _met(tracee: Tracee, meeting: calls.Meeting, arguments: tuple[int, ...]) -> Reading:
    pointer, length = arguments[meeting.address], arguments[meeting.length] & 0xFFFFFFFF
    if meeting.is_message:
        pointer, length = struct.unpack_from("=QI", tracee.read(pointer, 12))
    if not pointer or length < 2:
        return (), None
    data = tracee.read(pointer, min(length, _MOST_SOCKADDR))
    (family,) = struct.unpack_from("=H", data)
    if family == socket.AF_UNIX:
        return _met_unix(tracee, meeting.act, data[2:])
    if family == socket.AF_INET:
        host, port = socket.inet_ntop(family, data[4:8]), struct.unpack_from(">H", data, 2)[0]
    elif family == socket.AF_INET6:
        host, port = socket.inet_ntop(family, data[8:24]), struct.unpack_from(">H", data, 2)[0]
    else:
        return (), None
    return (), Address(meeting.act, _protocol(tracee, arguments[0]), host, port)


def _met_unix(tracee: Tracee, act: str, name: bytes) -> Reading:
    if name[:1] == b"\0" or not name:
        return (), Address(act, "unix", f"abstract:{os.fsdecode(name[1:])}", 0)
    text = os.fsdecode(name.partition(b"\0")[0])
    path = tracee.absolute(-100, text)
    found = tracee.find(path, follows=act != "bind")
    making = act == "bind"
    place = _place(path, found, "create" if making else "connect", "make_sock" if making else "resolve_unix")
    return (place,), Address(act, "unix", text, 0)


def _protocol(tracee: Tracee, fd: int) -> str:
    """ "tcp" or "udp"; "" for others, such as MPTCP and raw sockets, and for what cannot be looked at."""
    try:
        domain, kind, protocol = tracee.socket(fd)
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise
        return ""
    name = _SOCK_TYPES.get(kind, "")
    known = domain in (socket.AF_INET, socket.AF_INET6) and protocol in _PROTOCOLS.get(name, ())
    return name if known else ""
