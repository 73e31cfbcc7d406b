"""Namespaces: which can be had here, the id maps of a user namespace, and the init process of a pid namespace.

LIGHT. See namespaces(7). The kinds are masks of the CLONE_NEW* flags of clone(2).

The init process is a target: it is a copy of the supervisor, with the caller's environment in its memory, in the pid
namespace of the command and with the command's user. So it is not dumpable, holds no descriptor, has a Landlock domain
beside the command's (which not even CAP_SYS_PTRACE reaches into) and a filter that lets it sleep and nothing else. It
reaps without waking up: it ignores SIGCHLD, so the kernel does it.
"""

from __future__ import annotations

import fcntl
import os
import resource
import struct

from sandrun import libc
from sandrun.primitives import landlock, seccomp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    _Step = tuple[str, Callable[[], object]]

KINDS: dict[str, int] = {
    "user": libc.CLONE_NEWUSER,
    "mount": libc.CLONE_NEWNS,
    "pid": libc.CLONE_NEWPID,
    "ipc": libc.CLONE_NEWIPC,
    "net": libc.CLONE_NEWNET,
    "uts": libc.CLONE_NEWUTS,
    "cgroup": libc.CLONE_NEWCGROUP,
    "time": libc.CLONE_NEWTIME,
}
"""By the names of namespaces(7), the user namespace first."""
ALL = sum(KINDS.values())
FORKING = libc.CLONE_NEWPID | libc.CLONE_NEWTIME
"""unshare(2) makes these for the children only."""
PROC_FLAGS = libc.MS_NOSUID | libc.MS_NODEV | libc.MS_NOEXEC

_BEGUN, _DONE, _FAILED = b".", b"!", b"E"
"""What the child of `attempt` tells: each step, and how the last of them ended; behind _FAILED the errno."""
_SIOCSIFFLAGS = 0x8914
_LOOPBACK_UP = struct.pack("=16sh22x", b"lo", 1)
"""struct ifreq with IFF_UP (netdevice(7))."""
_AF_INET, _SOCK_DGRAM = 2, 2

_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_WHILE_ASLEEP: dict[str, tuple[int, ...]] = {
    # write, close_range, ppoll, restart_syscall, exit_group; for the interpreter: mmap, munmap, madvise, brk, futex
    "x86_64": (1, 436, 271, 219, 231, 9, 11, 28, 12, 202),
    "aarch64": (64, 436, 73, 128, 94, 222, 215, 233, 214, 98),
}


def names(kinds: int) -> tuple[str, ...]:
    """The kinds of a mask, as the record has them: `pid namespace`."""
    return tuple(f"{'network' if name == 'net' else name} namespace" for name, kind in KINDS.items() if kinds & kind)


def own_maps() -> tuple[bytes, bytes]:
    """uid_map and gid_map with this process's ids alone, as themselves (user_namespaces(7))."""
    return b"%d %d 1\n" % (os.geteuid(), os.geteuid()), b"%d %d 1\n" % (os.getegid(), os.getegid())


# --- what can be had -------------------------------------------------------------------------------------------------


def attempt(kinds: int) -> tuple[str, int, int]:
    """Make namespaces of these kinds in a child and use them as a launch does: 2 to 3 ms.

    Returns the step that failed, its errno, and the signal that killed the child there; ("", 0, 0) if all work. They
    are used because their making says little: under AppArmor and in a Landlock domain a user namespace can be made, and
    nothing mounted in it. This process must have one thread. Raises OSError if it cannot even fork.
    """
    steps = _steps(kinds)
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        pid = libc.clone(libc.SIGCHLD)
        if not pid:
            _try(steps, writer)
    finally:
        os.close(writer)
    said = b""
    while more := os.read(reader, 64):
        said += more
    os.close(reader)
    try:
        status = os.waitpid(pid, 0)[1]
    except ChildProcessError:
        status = libc.SIGKILL  # a caller that ignores SIGCHLD has the kernel reap it (wait(2))
    step = steps[max(said.count(_BEGUN), 1) - 1][0]
    if said.endswith(_DONE):
        return "", 0, 0
    if said[-2:-1] == _FAILED:
        return step, said[-1], 0
    return step, 0, os.WTERMSIG(status)


def _steps(kinds: int) -> tuple[_Step, ...]:
    uid_map, gid_map = own_maps()
    made = names(kinds & ~libc.CLONE_NEWUSER or kinds)
    article = "an" if made[-1].startswith("ipc") else "a"
    what = f"{article} {made[-1]}" if len(made) <= 2 else "namespaces"
    steps: list[_Step] = [(f"make {what}", lambda: libc.unshare(kinds))]
    if kinds & libc.CLONE_NEWUSER:
        steps.append(("map ids in a user namespace", lambda: map_ids(uid_map, gid_map)))
    if kinds & libc.CLONE_NEWNET:
        steps.append(("set up a loopback interface", set_up_loopback))
    if kinds & libc.CLONE_NEWNS:
        steps.append(("keep mounts to a mount namespace", keep_mounts))
        steps.append(("mount in a mount namespace", lambda: libc.mount(b"none", b"/proc", b"tmpfs")))
    if kinds & FORKING:
        steps.append(("fork into it", _go_on_in_a_child))
    if kinds & libc.CLONE_NEWNS and kinds & libc.CLONE_NEWPID:
        steps.append(("mount proc in a pid namespace", mount_proc))
    return tuple(steps)


def _try(steps: tuple[_Step, ...], writer: int) -> NoReturn:
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a filter that kills would leave a core file
        for _, step in steps:
            os.write(writer, _BEGUN)
            step()
        os.write(writer, _DONE)
    except OSError as error:
        os.write(writer, _FAILED + bytes((min(error.errno or 0, 255),)))
    finally:
        os._exit(0)


def _go_on_in_a_child() -> None:
    pid = libc.clone(libc.SIGCHLD)
    if pid:
        libc.rt_sigaction(libc.SIGCHLD, libc.SIGACTION_DEFAULT)
        status = os.waitpid(pid, 0)[1]
        if os.WIFSIGNALED(status):
            os.kill(os.getpid(), os.WTERMSIG(status))
        os._exit(0)


# --- in the child ----------------------------------------------------------------------------------------------------


def map_ids(uid_map: bytes, gid_map: bytes) -> None:
    """Give this process's new user namespace its ids. For another map than its own id it needs a helper outside.

    A process that is not dumpable may not write its own files in /proc: it is dumpable for the moment of writing.
    """
    libc.prctl(libc.PR_SET_DUMPABLE, 1)
    try:
        for name, text in (("setgroups", b"deny"), ("uid_map", uid_map), ("gid_map", gid_map)):
            fd = os.open(f"/proc/self/{name}", os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(fd, text)
            finally:
                os.close(fd)
    finally:
        libc.prctl(libc.PR_SET_DUMPABLE, 0)


def keep_mounts() -> None:
    """Nothing that is mounted or unmounted in this mount namespace shows in another (mount_namespaces(7))."""
    libc.mount(b"none", b"/", b"", libc.MS_REC | libc.MS_PRIVATE)


def mount_proc() -> None:
    """proc(5) of this process's pid namespace, on /proc."""
    libc.mount(b"proc", b"/proc", b"proc", PROC_FLAGS)


def set_up_loopback() -> None:
    """Set up `lo`, which a new network namespace has, but down; 127.0.0.1 and ::1 come with that."""
    fd = libc.socket(_AF_INET, _SOCK_DGRAM)
    try:
        fcntl.ioctl(fd, _SIOCSIFFLAGS, _LOOPBACK_UP)
    finally:
        os.close(fd)


# --- the init process ------------------------------------------------------------------------------------------------


class Init:
    """What the init process confines itself with, made in the parent, which closes the `descriptors` after the fork.

    Who reads `reader` gets a byte once the init process is confined, or the end of the file if it died.
    """

    __slots__ = ("_filter", "_name", "_ruleset_fd", "_words", "descriptors", "reader", "writer")

    def __init__(self) -> None:
        self._words, end = _command_line()
        self._name = b"init"[: end - self._words].ljust(end - self._words, b"\0")
        self._filter = libc.SockFprog(asleep(libc.MACHINE))
        self._ruleset_fd = landlock.create_empty()
        self.reader, self.writer = os.pipe2(os.O_CLOEXEC)
        self.descriptors = (self.reader, self.writer, *((self._ruleset_fd,) if self._ruleset_fd >= 0 else ()))

    def sleep(self, held: int) -> NoReturn:
        """Confine this process, close its descriptors but `held` (-1: all) and sleep until SIGKILL. Raises OSError."""
        # /proc/PID/cmdline is for everybody, and what was said to sandrun is not the command's business.
        libc.write_memory(self._words, self._name)
        libc.prctl(libc.PR_SET_NO_NEW_PRIVS, 1)
        if self._ruleset_fd >= 0:
            landlock.restrict_self(self._ruleset_fd, 0)
        libc.seccomp(libc.SECCOMP_SET_MODE_FILTER, 0, self._filter)
        first = 0
        for kept in sorted({self.writer, max(held, 0) or self.writer}):
            libc.close_range(first, kept - 1)
            first = kept + 1
        libc.close_range(first, 2**32 - 1)
        os.write(self.writer, b".")
        libc.close_range(self.writer, self.writer)
        while True:
            libc.pause()


def _command_line() -> tuple[int, int]:
    """The first address of this process's command line and the one behind it: arg_start, arg_end of proc_pid_stat(5)."""
    fd = os.open("/proc/self/stat", os.O_RDONLY | os.O_CLOEXEC)
    try:
        words = os.read(fd, 4096).rpartition(b") ")[2].split()
    finally:
        os.close(fd)
    return int(words[45]), int(words[46])


def asleep(machine: str) -> bytes:
    """The filter of the init process: what the interpreter needs while it sleeps; all else kills it.

    Made by hand, since the compiler is no part of a launch. Raises KeyError for an unknown machine.
    """
    allowed = _WHILE_ASLEEP[machine]
    load, jump, give = 0x20, 0x15, 0x06  # BPF_LD|BPF_W|BPF_ABS, BPF_JMP|BPF_JEQ|BPF_K, BPF_RET|BPF_K
    program = [(load, 0, 0, 4), (jump, 0, len(allowed) + 1, _AUDIT_ARCH[machine]), (load, 0, 0, 0)]
    program += [(jump, len(allowed) - at, 0, number) for at, number in enumerate(allowed)]
    program += [(give, 0, 0, seccomp.KILL_PROCESS), (give, 0, 0, seccomp.ALLOW)]
    return b"".join(struct.pack("=HBBI", *line) for line in program)
