"""Landlock: the access rights by name and ABI, and a ruleset made in the parent and entered by the child.

LIGHT. The numbers are those of linux/landlock.h; the descriptions are in landlock(7) and in the kernel's
userspace-api/landlock. `landlock_names` holds the table against the package `landlock`.
"""

from __future__ import annotations

import errno
import os
import stat
import struct

from sandrun import libc
from sandrun.errors import SandrunError
from sandrun.plan.format import KEEP, KIND_DIRECTORY, MAY_VANISH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from sandrun.plan.format import Plan

NEWEST_ABI = 10
"""The newest ABI of the tables below."""

FS: dict[str, int] = {
    "execute": 1 << 0,
    "write_file": 1 << 1,
    "read_file": 1 << 2,
    "read_dir": 1 << 3,
    "remove_dir": 1 << 4,
    "remove_file": 1 << 5,
    "make_char": 1 << 6,
    "make_dir": 1 << 7,
    "make_reg": 1 << 8,
    "make_sock": 1 << 9,
    "make_fifo": 1 << 10,
    "make_block": 1 << 11,
    "make_sym": 1 << 12,
    "refer": 1 << 13,
    "truncate": 1 << 14,
    "ioctl_dev": 1 << 15,
    "resolve_unix": 1 << 16,
}
FS_ABI: dict[str, int] = dict.fromkeys(FS, 1) | {"refer": 2, "truncate": 3, "ioctl_dev": 5, "resolve_unix": 9}
NET: dict[str, int] = {"bind_tcp": 1 << 0, "connect_tcp": 1 << 1, "bind_udp": 1 << 2, "connect_send_udp": 1 << 3}
NET_ABI: dict[str, int] = {"bind_tcp": 4, "connect_tcp": 4, "bind_udp": 10, "connect_send_udp": 10}
SCOPES: dict[str, int] = {"abstract_unix_socket": 1 << 0, "signal": 1 << 1}
SCOPES_ABI: dict[str, int] = {"abstract_unix_socket": 6, "signal": 6}
RESTRICT_FLAGS: dict[str, int] = {
    "log_same_exec_off": 1 << 0,
    "log_new_exec_on": 1 << 1,
    "log_subdomains_off": 1 << 2,
    "tsync": 1 << 3,
}
RESTRICT_FLAGS_ABI: dict[str, int] = {
    "log_same_exec_off": 7,
    "log_new_exec_on": 7,
    "log_subdomains_off": 7,
    "tsync": 8,
}
ADD_RULE_FLAGS: dict[str, int] = {"quiet": 1 << 0}
ADD_RULE_FLAGS_ABI: dict[str, int] = {"quiet": 10}

FILE_RIGHTS = sum(FS[name] for name in ("execute", "write_file", "read_file", "truncate", "ioctl_dev", "resolve_unix"))
"""What a rule on anything but a directory may carry: the kernel answers EINVAL to any other right there."""

READ = FS["read_file"] | FS["read_dir"]
EXECUTE = FS["execute"] | READ
WRITE = READ | sum(
    FS[name]
    for name in (
        "write_file",
        "truncate",
        "make_reg",
        "make_dir",
        "make_sym",
        "make_sock",
        "make_fifo",
        "remove_file",
        "remove_dir",
        "refer",
        "ioctl_dev",
    )
)
"""Read and change everything inside. Device files are not made: a new one would be a way around every path."""

# From this ABI on struct landlock_ruleset_attr has this many of its u64 fields: a kernel answers E2BIG to a larger
# struct only where the unknown fields are not zero, but an exact size needs no such trust.
ATTR_FIELDS = ((10, 6), (6, 3), (4, 2), (1, 1))


def probe() -> tuple[int, str]:
    """Ask the kernel for its Landlock ABI (0 if none can be had), and what there is instead.

    The second is "available", "disabled" (EOPNOTSUPP: built in, but not in the kernel's LSM list), "missing" (ENOSYS:
    not built in) or "refused" (any other answer: an outer filter).
    """
    try:
        return libc.landlock_create_ruleset(None, libc.LANDLOCK_CREATE_RULESET_VERSION), "available"
    except OSError as error:
        return 0, {errno.EOPNOTSUPP: "disabled", errno.ENOSYS: "missing"}.get(error.errno or 0, "refused")


def fs_mask(abi: int) -> int:
    """Every file system right that this ABI knows."""
    return _mask(FS, FS_ABI, abi)


def net_mask(abi: int) -> int:
    """Every network right that this ABI knows."""
    return _mask(NET, NET_ABI, abi)


def scope_mask(abi: int) -> int:
    """Every scope that this ABI knows."""
    return _mask(SCOPES, SCOPES_ABI, abi)


def names(mask: int) -> tuple[str, ...]:
    """The names of the file system rights in a mask, in the order of their bits."""
    return tuple(name for name, bit in FS.items() if mask & bit)


def _mask(bits: dict[str, int], since: dict[str, int], abi: int) -> int:
    return sum(bit for name, bit in bits.items() if since[name] <= abi)


def ruleset_attr(plan: Plan) -> bytes:
    """struct landlock_ruleset_attr with the size that the plan's ABI has."""
    fields = next(count for since, count in ATTR_FIELDS if plan.landlock_abi >= since)
    values = (plan.landlock_fs, plan.landlock_net, plan.landlock_scoped, 0, 0, 0)
    if any(values[fields:]):
        raise SandrunError(f"cannot make the Landlock ruleset: ABI {plan.landlock_abi} has no such rights")
    return struct.pack(f"={fields}Q", *values[:fields])


def create(plan: Plan, private: Iterable[bytes] = ()) -> int:
    """Make the plan's ruleset in the parent: the ruleset's descriptor, or -1 if the plan has no Landlock.

    Every path is opened afresh without following any symbolic link, since the plan's paths are canonical: what was
    exchanged for a link after planning is refused, not followed. `private` are directories made for this launch; they
    get `plan.private_access`.

    Raises SandrunError for a path that is gone, became another kind, or is one of the plan's holes.
    """
    if not plan.landlock_abi:
        return -1
    try:
        ruleset_fd = libc.landlock_create_ruleset(ruleset_attr(plan))
    except OSError as error:
        raise _failed("the ruleset", error) from None
    try:
        same = plan.uid in (KEEP, os.geteuid()) or bool(plan.id_helpers)
        holes = _identities(plan.holes, skip_unreachable=same)
        for access, kind, path in plan.path_rules:
            _add_path(ruleset_fd, access, kind, path, holes)
        for path in private:
            _add_path(ruleset_fd, plan.private_access, KIND_DIRECTORY, path, holes)
        for access, port in plan.port_rules:
            _add_rule(ruleset_fd, libc.LANDLOCK_RULE_NET_PORT, struct.pack("=QQ", access, port), f"port {port}")
    except BaseException:
        os.close(ruleset_fd)
        raise
    return ruleset_fd


def create_empty() -> int:
    """A ruleset that handles all this kernel knows and grants nothing; -1 where there is no Landlock."""
    try:
        abi = min(libc.landlock_create_ruleset(None, libc.LANDLOCK_CREATE_RULESET_VERSION), NEWEST_ABI)
    except OSError:
        return -1
    fields = next(count for since, count in ATTR_FIELDS if abi >= since)
    values = (fs_mask(abi), net_mask(abi), scope_mask(abi), 0, 0, 0)
    return libc.landlock_create_ruleset(struct.pack(f"={fields}Q", *values[:fields]))


def restrict_self(ruleset_fd: int, flags: int) -> None:
    """Enter the ruleset, in the child. Irreversible."""
    libc.landlock_restrict_self(ruleset_fd, flags)


def open_path(path: bytes) -> int:
    """An O_PATH descriptor of a canonical path. Raises OSError; ELOOP where a symbolic link stands in the way."""
    try:
        return libc.openat2(path, os.O_PATH | os.O_CLOEXEC, resolve=libc.RESOLVE_NO_SYMLINKS)
    except OSError as error:
        # An outer filter cannot see the flags of openat2(2) and may refuse all of it so; ours does.
        if error.errno != errno.ENOSYS:
            raise
    return _open_by_names(path)


def _open_by_names(path: bytes) -> int:
    """What openat2(2) does with RESOLVE_NO_SYMLINKS, a name at a time."""
    at = os.open("/", os.O_PATH | os.O_CLOEXEC)
    for name in path.split(b"/"):
        if not name:
            continue
        try:
            below = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
        finally:
            os.close(at)
        at = below
        if stat.S_ISLNK(os.fstat(at).st_mode):
            os.close(at)
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    return at


def _identities(paths: Iterable[bytes], *, skip_unreachable: bool) -> dict[tuple[int, int], bytes]:
    """The (device, inode) of each path that exists.

    `skip_unreachable`: where we may not look and the command runs as the same user, or as a stranger to all files, it may
    not look either.
    """
    absent = (errno.ENOENT, errno.ENOTDIR, errno.EACCES) if skip_unreachable else (errno.ENOENT, errno.ENOTDIR)
    found: dict[tuple[int, int], bytes] = {}
    for path in paths:
        try:
            fd = open_path(path)
        except OSError as error:
            if error.errno in absent:
                continue
            raise _failed(path, error) from None
        status = os.fstat(fd)
        os.close(fd)
        found[status.st_dev, status.st_ino] = path
    return found


def _add_path(ruleset_fd: int, access: int, kind: int, path: bytes, holes: dict[tuple[int, int], bytes]) -> None:
    may_vanish = bool(kind & MAY_VANISH)
    is_directory = kind & ~MAY_VANISH == KIND_DIRECTORY
    try:
        fd = open_path(path)
    except OSError as error:
        if may_vanish and error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return
        raise _failed(path, error) from None
    try:
        status = os.fstat(fd)
        if stat.S_ISDIR(status.st_mode) != is_directory:
            if may_vanish:
                return
            now, before = ("a file", "a directory") if is_directory else ("a directory", "a file")
            raise SandrunError(f"cannot grant {os.fsdecode(path)}: it was {before} and is {now} now")
        hole = holes.get((status.st_dev, status.st_ino))
        if hole is not None:
            raise SandrunError(
                f"cannot grant {os.fsdecode(path)}: it is the same file as {os.fsdecode(hole)}, which is denied",
                hint="one of the two is a hard link or a bind mount of the other",
            )
        if not is_directory:
            access &= FILE_RIGHTS
        if access:
            # struct landlock_path_beneath_attr is packed: no padding behind the descriptor.
            _add_rule(ruleset_fd, libc.LANDLOCK_RULE_PATH_BENEATH, struct.pack("=Qi", access, fd), path)
    finally:
        os.close(fd)


def _add_rule(ruleset_fd: int, rule_type: int, attr: bytes, what: bytes | str) -> None:
    try:
        libc.landlock_add_rule(ruleset_fd, rule_type, attr)
    except OSError as error:
        raise _failed(what, error) from None


def _failed(what: bytes | str, error: OSError) -> SandrunError:
    hints = {
        errno.ELOOP: "a symbolic link took the place of a directory after the plan was made",
        errno.ENOENT: "it was there when the plan was made",
    }
    text = os.fsdecode(what)
    number = error.errno or 0
    return SandrunError(f"cannot grant {text}: {libc.strerror(number)}", hint=hints.get(number))
