"""What other protections need seccomp to refuse, by name: pure functions that return Guards.

The errno is what a program meets elsewhere and knows how to handle: EPERM for what needs privileges or is simply not
allowed, EACCES where Landlock would have answered so, ENOSYS where a C library then falls back to an older call whose
arguments a filter can see, EAFNOSUPPORT and EOPNOTSUPP where a kernel without the feature says that.
"""

from __future__ import annotations

from sandrun.plan.draft import Arg, Guard

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

EPERM, EACCES, ENOSYS = "errno:EPERM", "errno:EACCES", "errno:ENOSYS"

# ioctl_tty(2), ioctl_console(2)
TIOCSTI, TIOCLINUX = 0x5412, 0x541C

# clone(2), unshare(2). In clone's flags bit 0x80 belongs to the exit signal, so CLONE_NEWTIME exists in unshare only.
CLONE_NEW = {
    "CLONE_NEWNS": 0x00020000,
    "CLONE_NEWCGROUP": 0x02000000,
    "CLONE_NEWUTS": 0x04000000,
    "CLONE_NEWIPC": 0x08000000,
    "CLONE_NEWUSER": 0x10000000,
    "CLONE_NEWPID": 0x20000000,
    "CLONE_NEWNET": 0x40000000,
}
CLONE_NEWTIME = 0x00000080

# open(2)
O_ACCMODE, O_TRUNC = 0o3, 0o1000
O_RDONLY, O_NOACCESS = 0, 3
O_CREAT, O_TMPFILE = 0o100, 0o20000000

PRIO_PGRP, IOPRIO_WHO_PGRP = 1, 2  # setpriority(2), ioprio_set(2)

S_ISUID, S_ISGID = 0o4000, 0o2000  # inode(7)

# socket(2): the kernel keeps the type in four bits, SOCK_CLOEXEC and SOCK_NONBLOCK above them.
AF_UNIX = 1
SOCK_STREAM, SOCK_SEQPACKET, SOCK_TYPE_MASK = 1, 5, 0xF
MSG_FASTOPEN = 0x20000000
# setsockopt(2): levels and options of ip(7), ipv6(7), tcp(7)
IPPROTO_IP, IPPROTO_TCP, IPPROTO_IPV6 = 0, 6, 41
IP_OPTIONS, TCP_FASTOPEN_CONNECT = 4, 30
IPV6_2292HOPOPTS, IPV6_2292DSTOPTS, IPV6_2292RTHDR, IPV6_2292PKTOPTIONS = 3, 4, 5, 6
IPV6_HOPOPTS, IPV6_RTHDRDSTOPTS, IPV6_RTHDR, IPV6_DSTOPTS = 54, 55, 57, 59

METADATA_CALLS = (
    *("chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "lchown", "fchown", "fchownat"),
    *("utime", "utimes", "futimesat", "utimensat", "file_setattr"),
    *("setxattr", "lsetxattr", "fsetxattr", "setxattrat"),
    *("removexattr", "lremovexattr", "fremovexattr", "removexattrat"),
)
METADATA_IOCTLS = {
    "FS_IOC_SETFLAGS": 0x40086602,
    "FS_IOC32_SETFLAGS": 0x40046602,
    "FS_IOC_FSSETXATTR": 0x401C5820,
    "FS_IOC_SETVERSION": 0x40087602,
    "FS_IOC32_SETVERSION": 0x40047602,
    "FS_IOC_SET_ENCRYPTION_POLICY": 0x800C6613,
    "FS_IOC_ENABLE_VERITY": 0x40806685,
    "FS_IOC_SETFSLABEL": 0x41009432,
    "FAT_IOCTL_SET_ATTRIBUTES": 0x40047211,
    "BTRFS_IOC_SUBVOL_SETFLAGS": 0x4008941A,
}
SUBVOLUME_IOCTLS = {
    "BTRFS_IOC_SNAP_CREATE": 0x50009401,
    "BTRFS_IOC_SNAP_CREATE_V2": 0x50009417,
    "BTRFS_IOC_SUBVOL_CREATE": 0x5000940E,
    "BTRFS_IOC_SUBVOL_CREATE_V2": 0x50009418,
    "BTRFS_IOC_SNAP_DESTROY": 0x5000940F,
    "BTRFS_IOC_SNAP_DESTROY_V2": 0x5000943F,
}


def terminal_injection(key: str = "process.tty") -> tuple[Guard, ...]:
    """No typing into the caller's terminal: TIOCSTI, and TIOCLINUX, whose paste does the same on a console."""
    return (Guard("ioctl", EPERM, key, (Arg(1, "in", values=(TIOCSTI, TIOCLINUX)),)),)


def namespaces(key: str = "syscalls") -> tuple[Guard, ...]:
    """No new namespace and none joined. Its user namespace would open most of the kernel's privileged surface.

    `clone3` has its flags in memory, where a filter cannot look: ENOSYS makes the C library use `clone`.
    """
    flags = sum(CLONE_NEW.values())
    return (
        Guard("clone", EPERM, key, (Arg(0, "masked_ne", 0, mask=flags),)),
        Guard("clone3", ENOSYS, key),
        Guard("unshare", EPERM, key, (Arg(0, "masked_ne", 0, mask=flags | CLONE_NEWTIME),)),
        Guard("setns", EPERM, key),
    )


def set_id_bits(key: str = "privileges.no_new_privs") -> tuple[Guard, ...]:
    """No file with a set-user-ID or set-group-ID bit: outside the sandbox it would lend our ids to whoever runs it.

    `openat2` has the mode in memory, where a filter cannot look: ENOSYS makes its callers use `openat`.
    """
    modes = {"chmod": 1, "fchmod": 1, "fchmodat": 2, "fchmodat2": 2, "creat": 1, "mknod": 1, "mknodat": 2}
    opens = {"open": (1, 2), "openat": (2, 3)}

    def set_id(index: int) -> Arg:
        return Arg(index, "masked_ne", 0, mask=S_ISUID | S_ISGID)

    return (
        *(Guard(name, EPERM, key, (set_id(index),)) for name, index in modes.items()),
        *(
            Guard(name, EPERM, key, (Arg(flags, "masked_eq", making, mask=making), set_id(mode)))
            for name, (flags, mode) in opens.items()
            for making in (O_CREAT, O_TMPFILE)
        ),
        Guard("openat2", ENOSYS, key),
    )


def prlimit_other(key: str = "process.isolate") -> tuple[Guard, ...]:
    """No limits of other processes: `prlimit64` with a pid other than 0.

    A process that names its own pid is refused too, since a filter cannot know it; `setrlimit(3)` passes 0.
    """
    return (Guard("prlimit64", EPERM, key, (Arg(0, "ne", 0),)),)


def process_group(key: str = "process.isolate", *, signals: bool) -> tuple[Guard, ...]:
    """No nice values or input/output priorities of the whole process group; with `signals`, no signals to it either.

    A pid namespace hides the ids of processes outside, but 0 means the caller's own group, which may have some in it.
    """
    zero = Arg(1, "eq", 0)
    return (
        Guard("setpriority", EPERM, key, (Arg(0, "eq", PRIO_PGRP), zero)),
        Guard("ioprio_set", EPERM, key, (Arg(0, "eq", IOPRIO_WHO_PGRP), zero)),
        *((Guard("kill", EPERM, key, (Arg(0, "eq", 0),)),) if signals else ()),
    )


def metadata(key: str = "filesystem.read") -> tuple[Guard, ...]:
    """No changes of mode, owner, times, extended attributes or inode flags, which Landlock does not govern.

    Includes `subvolumes`.
    """
    ioctls = (*METADATA_IOCTLS.values(), *SUBVOLUME_IOCTLS.values())
    return (
        *(Guard(name, EPERM, key) for name in METADATA_CALLS),
        Guard("ioctl", EPERM, key, (Arg(1, "in", values=ioctls),)),
    )


def subvolumes(key: str = "filesystem.read") -> tuple[Guard, ...]:
    """No making and removing of btrfs subvolumes: ioctls on a directory opened to read, which Landlock does not see."""
    return (Guard("ioctl", EPERM, key, (Arg(1, "in", values=tuple(SUBVOLUME_IOCTLS.values())),)),)


def file_handles(key: str = "filesystem.read") -> Guard:
    """No opening of files by handle (open_by_handle_at(2)), which with CAP_DAC_READ_SEARCH finds what a mount covers."""
    return Guard("open_by_handle_at", EPERM, key)


def mounts(key: str = "filesystem.read") -> tuple[Guard, ...]:
    """No copies and no attributes of mounts, which Landlock does not govern: with CAP_SYS_ADMIN they undo what covers."""
    return tuple(Guard(name, EPERM, key) for name in ("open_tree", "open_tree_attr", "mount_setattr"))


def truncate_by_path(key: str = "filesystem.read") -> tuple[Guard, ...]:
    """No truncation of files that cannot be opened for writing, which Landlock governs from ABI 3 on only.

    `truncate`, and O_TRUNC with O_RDONLY; with access mode 3 it is `open_without_access`'s to refuse. `openat2` has its
    flags in memory: ENOSYS. io_uring can do the same and is `io_uring`'s to refuse.
    """
    return (Guard("truncate", EACCES, key), *_opens(O_RDONLY | O_TRUNC, O_ACCMODE | O_TRUNC, key))


def open_without_access(key: str = "filesystem.read") -> tuple[Guard, ...]:
    """No opening with access mode 3, for which Landlock asks no right: any file, whatever is granted.

    O_TRUNC works with it, and ioctl(2) on what was opened; ABI 5 has both under control. See `truncate_by_path` for
    `openat2`.
    """
    return _opens(O_NOACCESS, O_ACCMODE, key)


def _opens(flags: int, mask: int, key: str) -> tuple[Guard, ...]:
    test = {
        name: Arg(index, "masked_eq", flags, mask=mask)
        for name, index in (("open", 1), ("openat", 2), ("open_by_handle_at", 2))
    }
    return (*(Guard(name, EACCES, key, (arg,)) for name, arg in test.items()), Guard("openat2", ENOSYS, key))


def socket_families(
    allowed: Mapping[int, Sequence[tuple[int, Iterable[int]]] | None], key: str = "network.connect"
) -> tuple[Guard, ...]:
    """Only these address families: number -> the (type, protocols) that may be had of it, None for all.

    An unlisted family gets EAFNOSUPPORT, as from a kernel without it; another type or protocol of a listed one
    (SOCK_RAW, IPPROTO_MPTCP, IPPROTO_SCTP, ...) EPERM. Pairs of connected unix sockets are always allowed, except of
    datagram sockets (and SOCK_RAW, which unix makes one): these can still be sent from to any path.
    """
    pairs = (Arg(0, "eq", AF_UNIX), Arg(1, "masked_not_in", values=(SOCK_STREAM, SOCK_SEQPACKET), mask=SOCK_TYPE_MASK))
    guards = [
        _families("socket", allowed, key),
        _families("socketpair", {AF_UNIX, *allowed}, key),
        *(() if AF_UNIX in allowed else (Guard("socketpair", EPERM, key, pairs),)),
    ]
    for family, combinations in allowed.items():
        if combinations is None:
            continue
        same = Arg(0, "eq", family)
        types = tuple(kind for kind, _ in combinations)
        guards.append(Guard("socket", EPERM, key, (same, Arg(1, "masked_not_in", values=types, mask=SOCK_TYPE_MASK))))
        for kind, protocols in combinations:
            of_kind = Arg(1, "masked_eq", kind, mask=SOCK_TYPE_MASK)
            guards.append(Guard("socket", EPERM, key, (same, of_kind, Arg(2, "not_in", values=tuple(protocols)))))
    return tuple(guards)


def no_listen(key: str = "network.bind") -> tuple[Guard, ...]:
    """No listening: an unbound socket that listens gets a port that no Landlock rule saw."""
    return (Guard("listen", EACCES, key),)


def no_bind(key: str = "network.bind") -> tuple[Guard, ...]:
    """No binding, of any address family: the address is in memory, where a filter cannot look."""
    return (Guard("bind", EACCES, key),)


def tcp_fast_open(key: str = "network.connect") -> tuple[Guard, ...]:
    """No MSG_FASTOPEN, which connects without a connect(2) that Landlock would see."""
    flags = {"sendto": 3, "sendmsg": 2, "sendmmsg": 3}
    return tuple(
        Guard(name, "errno:EOPNOTSUPP", key, (Arg(index, "masked_eq", MSG_FASTOPEN, mask=MSG_FASTOPEN),))
        for name, index in flags.items()
    )


def source_routes(key: str = "network.connect") -> tuple[Guard, ...]:
    """No route of its own for a socket: packets go to the first stop of IP_OPTIONS or IPV6_RTHDR, wherever it says that
    it is connected to. And no TCP_FASTOPEN_CONNECT, with which connect(2) is no more than a promise."""
    extensions = (
        *(IPV6_2292HOPOPTS, IPV6_2292DSTOPTS, IPV6_2292RTHDR, IPV6_2292PKTOPTIONS),
        *(IPV6_HOPOPTS, IPV6_RTHDRDSTOPTS, IPV6_RTHDR, IPV6_DSTOPTS),
    )
    refused = ((IPPROTO_IP, (IP_OPTIONS,)), (IPPROTO_IPV6, extensions), (IPPROTO_TCP, (TCP_FASTOPEN_CONNECT,)))
    return tuple(
        Guard("setsockopt", "errno:EOPNOTSUPP", key, (Arg(1, "eq", level), Arg(2, "in", values=options)))
        for level, options in refused
    )


def io_uring(key: str = "network.connect") -> tuple[Guard, ...]:
    """No io_uring: what it does is no system call, so no filter sees it."""
    return tuple(Guard(name, EPERM, key) for name in ("io_uring_setup", "io_uring_enter", "io_uring_register"))


def _families(syscall: str, allowed: Iterable[int], key: str) -> Guard:
    return Guard(syscall, "errno:EAFNOSUPPORT", key, (Arg(0, "not_in", values=tuple(allowed)),))
