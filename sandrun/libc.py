"""The system calls that the standard library and the named packages lack. Nothing else calls C, hence its length.

LIGHT. Each wrapper carries the name of its man page, returns what the call returns and raises OSError when the call
returned -1; `errno` is read only then, so a stale value never turns a success into a failure. Buffers are `bytes` (or
the classes below), made before `fork`: after it a wrapper does nothing but the call.
"""

from __future__ import annotations

import errno
import os
import struct

from sandrun import ffi
from sandrun.ffi import c_char_p, c_int, c_long, c_uint, c_ulong, c_void_p

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# prctl(2): linux/prctl.h
PR_SET_PDEATHSIG = 1
PR_GET_DUMPABLE = 3
PR_SET_DUMPABLE = 4
PR_GET_KEEPCAPS = 7
PR_SET_KEEPCAPS = 8
PR_GET_SECCOMP = 21
PR_CAPBSET_READ = 23
PR_CAPBSET_DROP = 24
PR_GET_SECUREBITS = 27
PR_SET_SECUREBITS = 28
PR_SET_CHILD_SUBREAPER = 36
PR_GET_CHILD_SUBREAPER = 37
PR_SET_NO_NEW_PRIVS = 38
PR_GET_NO_NEW_PRIVS = 39
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_IS_SET = 1
PR_CAP_AMBIENT_RAISE = 2
PR_CAP_AMBIENT_CLEAR_ALL = 4

# capset(2): linux/capability.h
_LINUX_CAPABILITY_VERSION_3 = 0x20080522

# landlock_create_ruleset(2), landlock_add_rule(2): linux/landlock.h
LANDLOCK_CREATE_RULESET_VERSION = 1
LANDLOCK_CREATE_RULESET_ERRATA = 2
LANDLOCK_RULE_PATH_BENEATH = 1
LANDLOCK_RULE_NET_PORT = 2

# seccomp(2): linux/seccomp.h
SECCOMP_SET_MODE_FILTER = 1
SECCOMP_GET_ACTION_AVAIL = 2
SECCOMP_FILTER_FLAG_TSYNC = 1
SECCOMP_FILTER_FLAG_LOG = 2
SECCOMP_FILTER_FLAG_NEW_LISTENER = 8

# unshare(2), mount(2): linux/sched.h, linux/mount.h
CLONE_NEWTIME = 0x00000080
CLONE_PARENT = 0x00008000
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
MS_NOSUID, MS_NODEV, MS_NOEXEC = 1 << 1, 1 << 2, 1 << 3
MS_REC = 1 << 14
MS_PRIVATE = 1 << 18
MNT_DETACH = 2

# open_tree(2), move_mount(2), fsopen(2), mount_setattr(2): linux/mount.h, linux/fcntl.h
AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000
OPEN_TREE_CLONE = 1
_MOVE_MOUNT_EMPTY_PATHS = 0x04 | 0x40
MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC = 1, 2, 4, 8
_FSCONFIG_SET_FLAG, _FSCONFIG_SET_STRING, _FSCONFIG_CMD_CREATE = 0, 1, 6
_MOUNT_CLOEXEC = 1
"""FSOPEN_CLOEXEC and FSMOUNT_CLOEXEC."""

# openat2(2): linux/openat2.h
RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08

# renameat2(2): linux/fs.h
RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2

# rt_sigprocmask(2), signal(7), signalfd(2). Not from the module `signal`: it costs 6 ms and wraps numbers in an enum.
SIG_BLOCK, SIG_UNBLOCK, SIG_SETMASK = range(3)
SIGHUP, SIGINT, SIGQUIT, SIGKILL, SIGUSR1, SIGUSR2, SIGALRM, SIGTERM = 1, 2, 3, 9, 10, 12, 14, 15
SIGCHLD, SIGCONT, SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU, SIGWINCH = 17, 18, 19, 20, 21, 22, 28
SI_KERNEL, SI_TIMER = 0x80, -2
"""Origins of a signal (sigaction(2)): the kernel, which is how a terminal sends, and a timer."""
NSIG = 64
ALL_SIGNALS = 2**NSIG - 1
SIGACTION_DEFAULT = bytes(32)
"""struct sigaction of the kernel, all zero: SIG_DFL, no flags, no mask."""
SIGACTION_IGNORE = (1).to_bytes(8, "little") + bytes(24)
"""SIG_IGN; for SIGCHLD it makes the kernel reap the children (wait(2))."""
SFD_NONBLOCK, SFD_CLOEXEC = os.O_NONBLOCK, os.O_CLOEXEC
_SIGSET_SIZE = NSIG // 8
_SIG_IGN = 1
_SIGINFO = struct.Struct("=IiiI112x")
"""struct signalfd_siginfo: signal, errno, code, pid and what nobody here asks for."""
_CLOCK_MONOTONIC = 1
_AT_STATX_DONT_SYNC, _STATX_TYPE_MODE_SIZE = 0x4000, 0x203

# Numbers as in asm/unistd_64.h and asm-generic/unistd.h; from 424 on all architectures agree.
_NUMBERS: dict[str, dict[str, int]] = {
    "x86_64": {
        "rt_sigaction": 13,
        "rt_sigprocmask": 14,
        "clone": 56,
        "pivot_root": 155,
        "umount2": 166,
        "timer_create": 222,
        "timer_settime": 223,
        "timer_delete": 226,
        "capget": 125,
        "capset": 126,
        "signalfd4": 289,
        "syncfs": 306,
        "renameat2": 316,
        "seccomp": 317,
        "statx": 332,
    },
    "aarch64": {
        "rt_sigaction": 134,
        "rt_sigprocmask": 135,
        "clone": 220,
        "pivot_root": 41,
        "umount2": 39,
        "timer_create": 107,
        "timer_settime": 110,
        "timer_delete": 111,
        "capget": 90,
        "capset": 91,
        "signalfd4": 74,
        "syncfs": 267,
        "renameat2": 276,
        "seccomp": 277,
        "statx": 291,
    },
}
_COMMON = {
    "pidfd_send_signal": 424,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "close_range": 436,
    "openat2": 437,
    "pidfd_getfd": 438,
    "mount_setattr": 442,
    "landlock_create_ruleset": 444,
    "landlock_add_rule": 445,
    "landlock_restrict_self": 446,
}

# sendmsg(2): a struct cmsghdr with one int behind it
_SOL_SOCKET, _SCM_RIGHTS, _CMSG_LEN = 1, 1, 20
_MSG_DONTWAIT, _MSG_CMSG_CLOEXEC = 0x40, 0x40000000

MACHINE = os.uname().machine


def strerror(number: int) -> str:
    """`Permission denied (EACCES)`: the words and the name of an error number (errno(3))."""
    return f"{os.strerror(number)} ({errno.errorcode.get(number, number)})"


def _check(result: int) -> int:
    if result == -1:
        number = ffi.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def _function(name: str, *argtypes: type) -> Callable[..., int]:
    return ffi.function(name, c_int, argtypes)


def _syscall(name: str, *argtypes: type, holding: bool = False) -> Callable[..., int]:
    """syscall(2) with the number filled in. On an architecture without a number the call answers ENOSYS."""
    number = _COMMON.get(name) or _NUMBERS.get(MACHINE, {}).get(name, -1)
    if struct.calcsize("P") != 8:
        number = -1  # a 32-bit interpreter on a 64-bit kernel has other numbers and other structs
    function = ffi.function("syscall", c_long, (c_long, *argtypes), holding=holding)

    def call(*arguments: object) -> int:
        return _check(function(number, *arguments))

    return call


_int, _uint, _ulong, _pointer, _size = c_int, c_uint, c_ulong, c_void_p, c_ulong

_prctl = _function("prctl", _int, _ulong, _ulong, _ulong, _ulong)
_execve = _function("execve", c_char_p, _pointer, _pointer)
_unshare = _function("unshare", _int)
_setns = _function("setns", _int, _int)
_sethostname = _function("sethostname", c_char_p, _size)
_socket = _function("socket", _int, _int, _int)
_socketpair = _function("socketpair", _int, _int, _int, _pointer)
_bind = _function("bind", _int, c_char_p, _uint)
_connect = _function("connect", _int, c_char_p, _uint)
_listen = _function("listen", _int, _int)
_setsockopt = _function("setsockopt", _int, _int, _int, c_char_p, _uint)
_getsockopt = _function("getsockopt", _int, _int, _int, _pointer, _pointer)
_sendmsg = _function("sendmsg", _int, c_char_p, _int)
_recvmsg = _function("recvmsg", _int, c_char_p, _int)
_ppoll = _function("ppoll", _pointer, _ulong, _pointer, _pointer)
# The child goes on holding the interpreter's lock, as after os.fork().
_clone = _syscall("clone", _ulong, _pointer, _pointer, _ulong, _ulong, holding=True)
_mount = _function("mount", c_char_p, c_char_p, c_char_p, _ulong, c_char_p)
_pivot_root = _syscall("pivot_root", c_char_p, c_char_p)
_umount2 = _syscall("umount2", c_char_p, _int)
_capget = _syscall("capget", _pointer, _pointer)
_capset = _syscall("capset", _pointer, _pointer)
_seccomp = _syscall("seccomp", _uint, _uint, _pointer)
_open_tree = _syscall("open_tree", _int, c_char_p, _uint)
_move_mount = _syscall("move_mount", _int, c_char_p, _int, c_char_p, _uint)
_fsopen = _syscall("fsopen", c_char_p, _uint)
_fsconfig = _syscall("fsconfig", _int, _uint, c_char_p, c_char_p, _int)
_fsmount = _syscall("fsmount", _int, _uint, _uint)
_mount_setattr = _syscall("mount_setattr", _int, c_char_p, _uint, _pointer, _size)
_openat2 = _syscall("openat2", _int, c_char_p, _pointer, _size)
_statx = _syscall("statx", _int, c_char_p, _int, _uint, _pointer)
_renameat2 = _syscall("renameat2", _int, c_char_p, _int, c_char_p, _uint)
_statfs = _function("statfs", c_char_p, _pointer)
_syncfs = _syscall("syncfs", _int)
_close_range = _syscall("close_range", _uint, _uint, _uint)
_pidfd_send_signal = _syscall("pidfd_send_signal", _int, _int, _pointer, _uint)
_pidfd_getfd = _syscall("pidfd_getfd", _int, _int, _uint)
_rt_sigaction = _syscall("rt_sigaction", _int, _pointer, _pointer, _size)
_rt_sigprocmask = _syscall("rt_sigprocmask", _int, _pointer, _pointer, _size)
_timer_create = _syscall("timer_create", _int, _pointer, _pointer)
_timer_settime = _syscall("timer_settime", _int, _int, _pointer, _pointer)
_timer_delete = _syscall("timer_delete", _int)
_signalfd4 = _syscall("signalfd4", _int, _pointer, _size, _int)
_landlock_create_ruleset = _syscall("landlock_create_ruleset", _pointer, _size, _uint)
_landlock_add_rule = _syscall("landlock_add_rule", _int, _int, _pointer, _uint)
_landlock_restrict_self = _syscall("landlock_restrict_self", _int, _uint)


def prctl(option: int, arg2: int = 0, arg3: int = 0, arg4: int = 0, arg5: int = 0) -> int:
    """prctl(2)."""
    return _check(_prctl(option, arg2, arg3, arg4, arg5))


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent ends (PR_SET_PDEATHSIG, prctl(2)).

    Raises ProcessLookupError if `parent`, which is to be it, has ended before that: then nobody would.
    """
    prctl(PR_SET_PDEATHSIG, SIGKILL)
    # Before Linux 6.18 a parent that is just ending may have missed this, and not show its end yet. It does both under a
    # lock that this call takes as well: what it answers is of no interest.
    os.getpriority(os.PRIO_PGRP, 0)
    if os.getppid() != parent:
        raise ProcessLookupError(errno.ESRCH, "the parent is gone")


def set_subreaper(*, on: bool) -> bool:
    """Whether orphans below this process become its children from here on; returns whether they did before."""
    was = c_int()
    prctl(PR_GET_CHILD_SUBREAPER, ffi.addressof(was))
    prctl(PR_SET_CHILD_SUBREAPER, int(on))
    return bool(was.value)


def unshare(flags: int) -> None:
    """unshare(2)."""
    _check(_unshare(flags))


def setns(fd: int, kind: int) -> None:
    """setns(2); `kind` is the CLONE_NEW* flag of the namespace. `os.setns` is there from Python 3.12 on."""
    _check(_setns(fd, kind))


def clone(flags: int) -> int:
    """clone(2) without memory of its own to share: as fork(2), with `flags`. 0 in the child, else the child's pid.

    The child is a copy of this process and of the one thread in it, so there must be no other.
    """
    return _clone(flags, None, None, 0, 0)


def sethostname(name: bytes) -> None:
    """sethostname(2)."""
    _check(_sethostname(name, len(name)))


def socket(family: int, kind: int, protocol: int = 0) -> int:
    """socket(2): a new descriptor. The module `socket` costs milliseconds to import."""
    return _check(_socket(family, kind, protocol))


def socketpair(family: int, kind: int) -> tuple[int, int]:
    """socketpair(2): two descriptors, connected with each other."""
    pair = (c_int * 2)()
    _check(_socketpair(family, kind, 0, pair))
    return pair[0], pair[1]


def bind(fd: int, address: bytes) -> None:
    """bind(2) to a struct sockaddr."""
    _check(_bind(fd, address, len(address)))


def connect(fd: int, address: bytes) -> None:
    """connect(2) to a struct sockaddr."""
    _check(_connect(fd, address, len(address)))


def listen(fd: int, backlog: int) -> None:
    """listen(2)."""
    _check(_listen(fd, backlog))


def setsockopt(fd: int, level: int, option: int, value: int) -> None:
    """setsockopt(2) of an option that is an int."""
    _check(_setsockopt(fd, level, option, struct.pack("=i", value), 4))


def getsockopt(fd: int, level: int, option: int) -> int:
    """getsockopt(2) of an option that is an int."""
    value, size = ffi.buffer(4), ffi.buffer(struct.pack("=I", 4))
    _check(_getsockopt(fd, level, option, value, size))
    return int.from_bytes(value.raw, "little", signed=True)


def send_fd(channel: int, data: bytes, fd: int) -> None:
    """sendmsg(2): `data` over a unix socket, and with it a copy of the descriptor (SCM_RIGHTS, unix(7))."""
    text = ffi.buffer(data)
    part = ffi.buffer(struct.pack("@PN", ffi.addressof(text), len(data)))
    rights = ffi.buffer(struct.pack("@Niii4x", _CMSG_LEN, _SOL_SOCKET, _SCM_RIGHTS, fd))
    head = (0, 0, ffi.addressof(part), 1, ffi.addressof(rights), _CMSG_LEN + 4, 0)
    _check(_sendmsg(channel, struct.pack("@PI4xPNPNi4x", *head), 0))


def receive_fd(channel: int) -> int:
    """recvmsg(2): the descriptor that `send_fd` sent, close-on-exec; it waits for nothing. Raises BlockingIOError if
    there is none, ConnectionError if there will be none."""
    text = ffi.buffer(16)
    part = ffi.buffer(struct.pack("@PN", ffi.addressof(text), len(text)))
    rights = ffi.buffer(_CMSG_LEN + 4)
    head = (0, 0, ffi.addressof(part), 1, ffi.addressof(rights), len(rights), 0)
    _check(_recvmsg(channel, struct.pack("@PI4xPNPNi4x", *head), _MSG_DONTWAIT | _MSG_CMSG_CLOEXEC))
    length, level, kind, fd = struct.unpack_from("@Niii", rights.raw)
    if (length, level, kind) != (_CMSG_LEN, _SOL_SOCKET, _SCM_RIGHTS):
        raise ConnectionError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
    return int(fd)


def pause() -> None:
    """ppoll(2) of nothing, for ever: pause(2), which not every architecture has."""
    _ppoll(None, 0, None, None)


def mount(source: bytes, target: bytes, fstype: bytes, flags: int = 0) -> None:
    """mount(2) without data."""
    _no_nul(source + target + fstype)
    _check(_mount(source, target, fstype, flags, None))


def pivot_root(new_root: bytes, put_old: bytes) -> None:
    """pivot_root(2)."""
    _no_nul(new_root + put_old)
    _pivot_root(new_root, put_old)


def umount2(target: bytes, flags: int) -> None:
    """umount2(2)."""
    _no_nul(target)
    _umount2(target, flags)


def open_tree(fd: int) -> int:
    """open_tree(2) with OPEN_TREE_CLONE: a copy of the mounts at and below an O_PATH descriptor, attached nowhere."""
    return _open_tree(fd, b"", AT_EMPTY_PATH | AT_RECURSIVE | OPEN_TREE_CLONE | os.O_CLOEXEC)


def move_mount(mount_fd: int, target_fd: int) -> None:
    """move_mount(2): attach a detached mount on what `target_fd` refers to."""
    _move_mount(mount_fd, b"", target_fd, b"", _MOVE_MOUNT_EMPTY_PATHS)


def fsmount(fstype: bytes, options: Sequence[tuple[bytes, bytes]], attributes: int) -> int:
    """fsopen(2), fsconfig(2), fsmount(2): a new filesystem, attached nowhere. An option without a value is a flag."""
    context = _fsopen(fstype, _MOUNT_CLOEXEC)
    try:
        for key, value in options:
            if value:
                _fsconfig(context, _FSCONFIG_SET_STRING, key, value, 0)
            else:
                _fsconfig(context, _FSCONFIG_SET_FLAG, key, None, 0)
        _fsconfig(context, _FSCONFIG_CMD_CREATE, None, None, 0)
        return _fsmount(context, _MOUNT_CLOEXEC, attributes)
    finally:
        os.close(context)


def mount_setattr(fd: int, path: bytes, flags: int, *, attributes: int = 0, propagation: int = 0) -> None:
    """mount_setattr(2): add attributes, or set the propagation. An empty path means `fd` itself."""
    _mount_setattr(
        fd, path, flags if path else flags | AT_EMPTY_PATH, struct.pack("=4Q", attributes, 0, propagation, 0), 32
    )


def capability_sets(effective: int, permitted: int, inheritable: int) -> bytes:
    """The data of capset(2), version 3: the low halves of the three masks, then the high halves."""
    masks = (effective, permitted, inheritable)
    return struct.pack("=6I", *(mask & 0xFFFFFFFF for mask in masks), *(mask >> 32 for mask in masks))


def capget() -> tuple[int, int, int]:
    """capget(2) of this thread: the effective, permitted and inheritable set as masks."""
    header = ffi.buffer(struct.pack("=Ii", _LINUX_CAPABILITY_VERSION_3, 0))
    data = ffi.buffer(24)
    _capget(header, data)
    low = struct.unpack("=6I", data.raw)
    return low[0] | low[3] << 32, low[1] | low[4] << 32, low[2] | low[5] << 32


def capset(sets: bytes) -> None:
    """capset(2) of this thread, with the bytes of `capability_sets`."""
    header = ffi.buffer(struct.pack("=Ii", _LINUX_CAPABILITY_VERSION_3, 0))
    _capset(header, sets)


def write_memory(address: int, data: bytes) -> None:
    """memcpy(3) into this process's own memory."""
    ffi.write_memory(address, data)


class SockFprog:
    """A BPF program: struct sock_fprog at `address`, its `data`, and the instructions it points to as long as this lives."""

    __slots__ = ("_fprog", "_program", "address", "data")

    def __init__(self, program: bytes) -> None:
        if not program or len(program) % 8:
            raise ValueError("a BPF program is one or more instructions of 8 bytes")
        self._program = ffi.buffer(program)
        self.data = struct.pack("@HxxxxxxQ", len(program) // 8, ffi.addressof(self._program))
        self._fprog = ffi.buffer(self.data)
        self.address = ffi.addressof(self._fprog)


def seccomp(operation: int, flags: int, argument: SockFprog | bytes) -> int:
    """seccomp(2). `argument` is a filter, or the bytes that the operation takes."""
    return _seccomp(operation, flags, argument.address if isinstance(argument, SockFprog) else argument)


def landlock_create_ruleset(attr: bytes | None, flags: int = 0) -> int:
    """landlock_create_ruleset(2): a new ruleset's descriptor (close-on-exec), or what `flags` asks for."""
    return _landlock_create_ruleset(attr, len(attr) if attr is not None else 0, flags)


def landlock_add_rule(ruleset_fd: int, rule_type: int, attr: bytes, flags: int = 0) -> None:
    """landlock_add_rule(2)."""
    _landlock_add_rule(ruleset_fd, rule_type, attr, flags)


def landlock_restrict_self(ruleset_fd: int, flags: int = 0) -> None:
    """landlock_restrict_self(2) of this thread. Irreversible."""
    _landlock_restrict_self(ruleset_fd, flags)


def openat2(path: bytes, flags: int, *, resolve: int = 0, mode: int = 0, dir_fd: int = -100) -> int:
    """openat2(2): a new descriptor. `dir_fd` -100 is AT_FDCWD."""
    _no_nul(path)
    how = struct.pack("=QQQ", flags, mode, resolve)
    return _openat2(dir_fd, path, how, len(how))


def cached_stat(fd: int) -> tuple[int, int]:
    """Mode and length of an open file as the kernel has them (AT_STATX_DONT_SYNC of statx(2)): nobody else is asked."""
    buffer = ffi.buffer(256)
    _statx(fd, b"", AT_EMPTY_PATH | _AT_STATX_DONT_SYNC, _STATX_TYPE_MODE_SIZE, buffer)
    mode, size = struct.unpack_from("=H10xQ", buffer, 28)
    return mode, size


def renameat2(old_fd: int, old: bytes, new_fd: int, new: bytes, flags: int) -> None:
    """renameat2(2)."""
    _no_nul(old + new)
    _renameat2(old_fd, old, new_fd, new, flags)


def statfs(path: bytes) -> int:
    """f_type of statfs(2): the magic number of the filesystem that a path is in."""
    _no_nul(path)
    buffer = ffi.buffer(256)
    _check(_statfs(path, buffer))
    return int(struct.unpack_from("=I", buffer)[0])


def syncfs(fd: int) -> None:
    """syncfs(2): all that was written to the filesystem of `fd` is on its medium."""
    _syncfs(fd)


def close_range(first: int, last: int, flags: int = 0) -> None:
    """close_range(2): close every descriptor from `first` to `last`, both included."""
    _close_range(first, last, flags)


def pidfd_send_signal(pidfd: int, signal: int) -> None:
    """pidfd_send_signal(2)."""
    _pidfd_send_signal(pidfd, signal, None, 0)


def pidfd_getfd(pidfd: int, fd: int) -> int:
    """pidfd_getfd(2): a copy of descriptor `fd` of that process (close-on-exec)."""
    return _pidfd_getfd(pidfd, fd, 0)


def rt_sigaction(signal: int, action: bytes) -> None:
    """sigaction(2) without the C library, which refuses the two signals that it uses itself (nptl(7))."""
    _rt_sigaction(signal, action, None, _SIGSET_SIZE)


def is_ignored(signal: int) -> bool:
    """Whether this process ignores the signal (sigaction(2))."""
    old = ffi.buffer(len(SIGACTION_DEFAULT))
    _rt_sigaction(signal, None, old, _SIGSET_SIZE)
    return int.from_bytes(old.raw[:8], "little") == _SIG_IGN


def signal_bit(signal: int) -> int:
    """The bit of a signal number in a mask."""
    return 1 << (signal - 1)


def rt_sigprocmask(how: int, mask: int) -> int:
    """sigprocmask(2). Masks are ints with bit `signal - 1` for each signal; returns the mask before."""
    old = ffi.buffer(_SIGSET_SIZE)
    _rt_sigprocmask(how, struct.pack("=Q", mask), old, _SIGSET_SIZE)
    return int.from_bytes(old.raw, "little")


def signalfd4(fd: int, mask: int, flags: int = 0) -> int:
    """signalfd(2): a descriptor to read the signals of `mask` from; `fd` -1 makes a new one."""
    return _signalfd4(fd, struct.pack("=Q", mask), _SIGSET_SIZE, flags)


def read_signals(signal_fd: int) -> list[tuple[int, int, int]]:
    """The (signal, si_code, sender's pid) of each signal that a non-blocking signalfd(2) holds now."""
    try:
        data = os.read(signal_fd, _SIGINFO.size * NSIG)
    except BlockingIOError:
        return []
    return [(signal, code, sender) for signal, _, code, sender in _SIGINFO.iter_unpack(data)]


def timer_create(signal: int) -> int:
    """timer_create(2): a timer on the monotonic clock that sends `signal` to this process."""
    event = struct.pack("=Qii48x", 0, signal, 0)
    timer = ffi.buffer(4)
    _timer_create(_CLOCK_MONOTONIC, event, timer)
    return int.from_bytes(timer.raw, "little")


def timer_settime(timer: int, seconds: float) -> None:
    """timer_settime(2): expire once, after so many seconds; 0 disarms."""
    whole = int(seconds)
    _timer_settime(timer, 0, struct.pack("=4q", 0, 0, whole, int((seconds - whole) * 1e9)), None)


def timer_delete(timer: int) -> None:
    """timer_delete(2)."""
    _timer_delete(timer)


class Execve:
    """The three arguments of execve(2), laid out before `fork` so that the call itself needs no memory."""

    __slots__ = ("_argv", "_envp", "_path", "_strings")

    def __init__(self, path: bytes, argv: Sequence[bytes], envp: Sequence[bytes]) -> None:
        for word in (path, *argv, *envp):
            _no_nul(word)
        self._path = path
        self._strings = (tuple(argv), tuple(envp))
        self._argv = (c_char_p * (len(argv) + 1))(*argv, None)
        self._envp = (c_char_p * (len(envp) + 1))(*envp, None)

    def __call__(self) -> None:
        """Execute. Returns only by raising OSError."""
        _check(_execve(self._path, self._argv, self._envp))


def _no_nul(word: bytes) -> None:
    """A C string ends at the first NUL: the kernel would see another path or argument than the one that was checked."""
    if b"\0" in word:
        raise ValueError("embedded null byte")
