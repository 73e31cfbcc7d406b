"""OpenBSD's pledge(2) promises in terms of Linux syscalls.

pledge starts when a program calls it; a filter is there before the program starts. So every promise brings `stdio`, and
`stdio` here includes what the loader and interpreters need to start: opening files to read, starting threads, mapping
code. Which files can be opened, and which addresses reached, is decided by `[filesystem]` and `[network]`.

Not kept: pledge lets a few paths through by name, tells sockets of a program from each other, and forgets `exec` when
it is not listed. A promise that has no meaning on Linux is accepted and grants `stdio`; its note says so.
"""

from __future__ import annotations

from sandrun.named import NamedTuple
from sandrun.plan.draft import Arg
from sandrun.policy._syscalls import SETS
from sandrun.policy.guards import AF_UNIX, CLONE_NEW, TIOCLINUX, TIOCSTI


class Limited(NamedTuple):
    """A syscall that is allowed where all of `when` hold."""

    syscall: str
    when: tuple[Arg, ...]


class Promise(NamedTuple):
    """What one promise allows besides `stdio`: whole syscalls or @sets, and syscalls by argument."""

    calls: tuple[str, ...] = ()
    limited: tuple[Limited, ...] = ()
    note: str = ""


# open(2), asm-generic/fcntl.h; these bits are the same on both architectures.
_ACCMODE, _CREAT, _TRUNC, _TMPFILE = 0o3, 0o100, 0o1000, 0o20000000
_PROT_WRITE, _PROT_EXEC = 2, 4
_CLONE_THREAD = 0x00010000
_AF_INET, _AF_INET6, _AF_NETLINK, _NETLINK_ROUTE = 2, 10, 16, 0

_LOCK_COMMANDS = (5, 6, 7, 36, 37, 38, 1024)
"""fcntl(2): F_GETLK, F_SETLK, F_SETLKW, their F_OFD_ forms, F_SETLEASE."""
_PRCTL_SELF = (1, 2, 3, 4, 15, 16, 21, 23, 27, 29, 30, 38, 39, 65, 66, 0x53564D41)
"""prctl(2): PDEATHSIG, DUMPABLE, NAME, GET_SECCOMP, CAPBSET_READ, GET_SECUREBITS, TIMERSLACK, NO_NEW_PRIVS, MDWE, VMA."""
_ASKING_IOCTLS = (0x5401, 0x540F, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451, 0x5452, 0x802C542A)
"""TCGETS, TIOCGPGRP, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX, FIOASYNC, TCGETS2."""
_TTY_IOCTLS = (
    *(0x5402, 0x5403, 0x5404, 0x5405, 0x5406, 0x5407, 0x5408, 0x5409, 0x540A, 0x540B),  # TCSETS to TCFLSH
    *(0x540E, 0x5410, 0x5411, 0x5414, 0x5420, 0x5422, 0x5424, 0x5425, 0x5429),  # TIOCSCTTY to TIOCGSID
    *(0x402C542B, 0x402C542C, 0x402C542D),  # TCSETS2, TCSETSW2, TCSETSF2
    *(0x80045430, 0x40045431, 0x80045432, 0x40045436, 0x80045439, 0x5441),  # pseudoterminals
)


def _words(names: str) -> tuple[str, ...]:
    return tuple(names.split())


def _opening(mask: int) -> tuple[Limited, ...]:
    """open and openat without any of these flags."""
    return tuple(
        Limited(name, (Arg(index, "masked_eq", 0, mask=mask),)) for name, index in (("open", 1), ("openat", 2))
    )


def _sockets(*families: int) -> tuple[Limited, ...]:
    return (Limited("socket", (Arg(0, "in", values=families),)),)


_ROUTE = (Limited("socket", (Arg(0, "eq", _AF_NETLINK), Arg(2, "eq", _NETLINK_ROUTE))),)
_OWN_LIMITS = (Limited("prlimit64", (Arg(0, "eq", 0),)),)
_SOCKET_CALLS = _words("bind connect listen accept accept4 setsockopt sendmmsg recvmmsg")

STDIO = Promise(
    calls=(
        *(name for name in SETS["@default"] if name not in {"mmap", "mprotect", "prlimit64"}),
        *_words("read readv pread64 preadv preadv2 write writev pwrite64 pwritev pwritev2 lseek close close_range"),
        *_words("dup dup2 dup3 pipe pipe2 eventfd eventfd2 memfd_create sendfile splice tee vmsplice copy_file_range"),
        *_words("fsync fdatasync ftruncate fallocate fadvise64 readahead sync_file_range cachestat"),
        *_words("fstat stat lstat newfstatat statx access faccessat faccessat2 readlink readlinkat"),
        *_words("getcwd fchdir getdents getdents64"),
        *_words("poll ppoll select pselect6"),
        *_words("epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2"),
        *_words("rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigsuspend rt_sigtimedwait sigaltstack"),
        *_words("signalfd signalfd4 tgkill @timer wait4 waitid"),
        *_words("mremap madvise mincore msync pkey_alloc pkey_free"),
        *_words("getrusage getcpu getpriority getsid capget sysinfo uname umask"),
        *_words("sched_getparam sched_getscheduler sched_setaffinity sched_get_priority_max sched_get_priority_min"),
        *_words("sendto sendmsg recvfrom recvmsg shutdown getsockopt getsockname getpeername"),
    ),
    limited=(
        *_opening(_ACCMODE | _CREAT | _TRUNC | _TMPFILE),
        Limited("fcntl", (Arg(1, "not_in", values=_LOCK_COMMANDS),)),
        Limited("ioctl", (Arg(1, "in", values=_ASKING_IOCTLS),)),
        Limited("prctl", (Arg(0, "in", values=_PRCTL_SELF),)),
        Limited("clone", (Arg(0, "masked_eq", _CLONE_THREAD, mask=_CLONE_THREAD | sum(CLONE_NEW.values())),)),
        Limited("socketpair", (Arg(0, "eq", AF_UNIX),)),
        Limited("prlimit64", (Arg(0, "eq", 0), Arg(2, "eq", 0))),  # reading them: no new limits
        Limited("mmap", (Arg(2, "masked_ne", _PROT_WRITE | _PROT_EXEC, mask=_PROT_WRITE | _PROT_EXEC),)),
        Limited("mprotect", (Arg(2, "masked_eq", 0, mask=_PROT_EXEC),)),
        Limited("pkey_mprotect", (Arg(2, "masked_eq", 0, mask=_PROT_EXEC),)),
    ),
)

_NO_OP = "has no meaning of its own on Linux and grants what stdio does"

PROMISES: dict[str, Promise] = {
    "stdio": Promise(),
    "rpath": Promise(
        _words("chdir statfs fstatfs statmount listmount name_to_handle_at file_getattr getxattr lgetxattr fgetxattr")
        + _words("getxattrat listxattr llistxattr flistxattr listxattrat")
        + _words("inotify_init inotify_init1 inotify_add_watch inotify_rm_watch")
    ),
    "wpath": Promise(("truncate",), _opening(_CREAT | _TMPFILE)),
    "cpath": Promise(
        _words("open openat creat mkdir mkdirat rmdir unlink unlinkat rename renameat renameat2")
        + _words("link linkat symlink symlinkat")
    ),
    "dpath": Promise(("mknod", "mknodat")),
    "tmppath": Promise(
        _words("open openat creat unlink unlinkat"), note="where files can be made is [filesystem]'s to say"
    ),
    "inet": Promise(_SOCKET_CALLS, _sockets(_AF_INET, _AF_INET6)),
    "mcast": Promise(note="setsockopt comes with inet, multicast with it"),
    "fattr": Promise(
        _words("chmod fchmod fchmodat fchmodat2 utime utimes futimesat utimensat file_setattr")
        + _words("setxattr lsetxattr fsetxattr setxattrat removexattr lremovexattr fremovexattr removexattrat")
    ),
    "chown": Promise(("@chown",)),
    "flock": Promise(("flock", "fcntl")),
    "unix": Promise(_SOCKET_CALLS, _sockets(AF_UNIX)),
    "dns": Promise(
        _words("bind connect setsockopt sendmmsg recvmmsg"),
        (*_sockets(_AF_INET, _AF_INET6), *_ROUTE),
    ),
    "getpw": Promise(("connect",), _sockets(AF_UNIX)),
    "sendfd": Promise(note="a filter cannot see descriptors in a message: " + _NO_OP),
    "recvfd": Promise(note="a filter cannot see descriptors in a message: " + _NO_OP),
    "tape": Promise(note=_NO_OP),
    "tty": Promise((), (Limited("ioctl", (Arg(1, "in", values=_TTY_IOCTLS),)), *_opening(_CREAT | _TRUNC | _TMPFILE))),
    "proc": Promise(
        _words("fork vfork kill tkill setpgid setsid setpriority setrlimit ioprio_get ioprio_set pidfd_open")
        + _words("pidfd_send_signal sched_setparam sched_setscheduler sched_setattr sched_getattr")
        + _words("sched_rr_get_interval"),
        (Limited("clone", (Arg(0, "masked_eq", 0, mask=sum(CLONE_NEW.values())),)), *_OWN_LIMITS),
    ),
    "exec": Promise(("execve", "execveat"), note="execve is allowed without it too: the launch itself needs it"),
    "prot_exec": Promise(("mmap", "mprotect", "pkey_mprotect")),
    "settime": Promise(("@clock",)),
    "ps": Promise(note="reading /proc is [filesystem]'s to allow: " + _NO_OP),
    "vminfo": Promise(note="reading /proc is [filesystem]'s to allow: " + _NO_OP),
    "id": Promise(("@setuid", "capset", "setpriority", "setrlimit"), _OWN_LIMITS),
    "pf": Promise(note=_NO_OP),
    "route": Promise(("bind", "setsockopt"), _ROUTE),
    "wroute": Promise(("bind", "setsockopt"), _ROUTE),
    "audio": Promise((), (Limited("ioctl", (Arg(1, "not_in", values=(TIOCSTI, TIOCLINUX)),)),)),
    "video": Promise((), (Limited("ioctl", (Arg(1, "not_in", values=(TIOCSTI, TIOCLINUX)),)),)),
    "bpf": Promise(note="OpenBSD's packet filter device; Linux's bpf(2) is never part of it: " + _NO_OP),
    "unveil": Promise(("landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self")),
    "error": Promise(note="refusals answer an errno anyway, unless default says otherwise: " + _NO_OP),
    "disklabel": Promise(note=_NO_OP),
    "vmm": Promise(note=_NO_OP),
}


def calls(name: str) -> tuple[str, ...]:
    """The syscalls and @sets that a promise allows whatever their arguments, those of `stdio` included."""
    return STDIO.calls + PROMISES[name].calls


def limited(name: str) -> tuple[Limited, ...]:
    """The syscalls that a promise allows by argument, those of `stdio` included."""
    return STDIO.limited + PROMISES[name].limited
