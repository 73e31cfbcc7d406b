"""What a command sees of its own state, as JSON. The source travels by `python -c`; it imports the standard library only.

What differs from one launch to the next is left out or given a name: ids of processes and mounts, counters, random names.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import re
import resource
import signal
import socket
import stat
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

LIBC = ctypes.CDLL(None, use_errno=True)
NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts")
PRCTLS = {"dumpable": 3, "keepcaps": 7, "no_new_privs": 39, "securebits": 27, "timing": 13, "slack": 30, "thp": 42}
COUNTERS = re.compile(
    r"(Tgid|Ngid|Pid|PPid|NStgid|NSpid|NSpgid|NSsid|Vm\w+|Rss\w+|Hugetlb\w+|FDSize|SigQ|\w*ctxt_switches|\w*_allowed\w*)$"
)
FAMILIES = ("AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK", "AF_PACKET", "AF_VSOCK", "AF_ALG")
KINDS = ("SOCK_STREAM", "SOCK_DGRAM", "SOCK_RAW")
CALLS = {
    # numbers of x86-64, with arguments that change nothing
    "ptrace": (101, 99, 0, 0, 0),
    "unshare": (272, 0),
    "unshare user": (272, 1 << 63),
    "mount": (165, 0, 0, 0, 0, 0),
    "chroot": (161, 0),
    "keyctl": (250, 99),
    "bpf": (321, 99, 0, 0),
    "personality": (135, 0xFFFFFFFF),
    "io_uring_setup": (425, 0, 0),
    "perf_event_open": (298, 0, 0, -1, -1, 0),
    "setns": (308, -1, 0),
    "process_vm_readv": (310, 0, 0, 0, 0, 0, 1),
    "clock_settime": (227, 99, 0),
    "getpriority": (140, 0, 0),
    "acct": (163, 1),
    "no such one": (499,),
}
PATHS = (
    *("/", "/etc/passwd", "/etc/shadow", "/etc/hostname", "/root", "/home", "/var", "/tmp", "/run", "/usr", "/srv"),
    *(
        "/bin/true",
        "/dev",
        "/dev/null",
        "/dev/zero",
        "/dev/tty",
        "/dev/ptmx",
        "/dev/shm",
        "/dev/mem",
        "/dev/kmsg",
        "/sys",
    ),
    *("/proc", "/proc/1/environ", "/proc/1/root", "/proc/self/mem", "/proc/sys/kernel/hostname", "/proc/kcore"),
)


def tried(call: Callable[[], Any]) -> Any:
    """What it returns, or the name of the error."""
    try:
        return call()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    except (ValueError, KeyError) as error:
        return repr(error)


def fields() -> dict[str, str]:
    """/proc/self/status (proc_pid_status(5))."""
    with open("/proc/self/status") as file:
        lines = (line.partition(":") for line in file)
        return {name: text.strip() for name, _, text in lines if not COUNTERS.match(name)}


def mounts() -> list[str]:
    """/proc/self/mountinfo (proc_pid_mountinfo(5)), the ids by their order of appearance."""
    known: dict[str, str] = {}

    def named(kind: str, number: str) -> str:
        return known.setdefault(kind + number, f"{kind}{len(known)}")

    found = []
    with open("/proc/self/mountinfo") as file:
        for line in file:
            own, above, device, *rest = line.split()
            if device.startswith("0:"):
                device = named("device", device)
            text = re.sub(r"(shared|master|propagate_from):(\d+)", lambda m: named(m[1], m[2]), " ".join(rest))
            found.append(f"{named('mount', own)} {named('mount', above)} {device} {text}")
    return found


def kind_of(fd: int) -> list[Any]:
    """A descriptor: what it is of, and its flags."""
    link = re.sub(r"\[\d+\]|memfd:.*", "", os.readlink(f"/proc/self/fd/{fd}"))
    return [link, fcntl.fcntl(fd, fcntl.F_GETFD), fcntl.fcntl(fd, fcntl.F_GETFL), stat.S_IFMT(os.fstat(fd).st_mode)]


def descriptors() -> dict[int, Any]:
    """All of this process but that of the listing itself."""
    found = {}
    for fd in range(256):
        try:
            fcntl.fcntl(fd, fcntl.F_GETFD)
        except OSError:
            continue
        found[fd] = tried(lambda fd=fd: kind_of(fd))  # type: ignore[misc]
    return found


def prctl(option: int) -> Any:
    """The value that it gets, or the name of the error."""
    ctypes.set_errno(0)
    value = LIBC.prctl(option, 0, 0, 0, 0)
    return errno.errorcode.get(ctypes.get_errno()) if value < 0 else value


def death_signal() -> Any:
    """PR_GET_PDEATHSIG."""
    value = ctypes.c_int(-1)
    LIBC.prctl(2, ctypes.byref(value), 0, 0, 0)
    return value.value


def called(words: tuple[int, ...]) -> Any:
    """What a syscall says; only whether it succeeds, where the number means something."""
    ctypes.set_errno(0)
    value = LIBC.syscall(*map(ctypes.c_long, words))
    return errno.errorcode.get(ctypes.get_errno()) if value == -1 else "done"


def opened(path: str, flags: int) -> str:
    """Whether it can be opened."""
    os.close(os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC))
    return "opened"


def reached(path: str) -> list[Any]:
    """What may be done with a path: read, write, list, execute, look at.

    A program that is open for writing cannot be executed meanwhile, by nobody.
    """
    found = tried(lambda: os.lstat(path))
    return [
        tried(lambda: opened(path, os.O_RDONLY)),
        path.startswith("/bin") or tried(lambda: opened(path, os.O_WRONLY)),
        tried(lambda: bool(os.listdir(path))),
        tried(lambda: os.access(path, os.X_OK)),
        found if isinstance(found, str) else [found.st_mode, found.st_uid, found.st_gid],
    ]


def bound(port: int) -> str:
    """Whether a TCP port can be had, at an address of this machine that nobody else uses."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as made:
        made.bind((".".join(map(str, (127, *(1 + byte % 254 for byte in os.urandom(3))))), port))
        made.listen()
    return "bound"


def socket_of(family: str, kind: str) -> str:
    """Whether there is such a socket for it."""
    socket.socket(getattr(socket, family), getattr(socket, kind)).close()
    return "made"


def everything(outside: dict[str, str]) -> dict[str, Any]:
    """All of it. `outside`: the namespaces of the caller, and names to put in the place of random ones."""
    own = os.getpid()
    return {
        "status": tried(fields),
        "limits": {name: resource.getrlimit(getattr(resource, name)) for name in dir(resource) if name[:7] == "RLIMIT_"},
        "mounts": tried(mounts),
        "namespaces": {name: tried(lambda name=name: os.readlink(f"/proc/self/ns/{name}") == outside[name]) for name in NAMESPACES},  # type: ignore[misc]
        "descriptors": descriptors(),
        "environment": [name.decode(errors="replace") + "=" + value.decode(errors="replace") for name, value in os.environb.items()],
        "words": tried(lambda: open("/proc/self/cmdline").read()[-40:]),
        "cwd": tried(os.getcwd),
        "umask": os.umask(0o77),
        "nice": tried(lambda: os.getpriority(os.PRIO_PROCESS, 0)),
        "scheduler": [tried(lambda: os.sched_getscheduler(0)), tried(lambda: len(os.sched_getaffinity(0)))],
        "ids": [os.getresuid(), os.getresgid(), os.getgroups()],
        "maps": [tried(lambda name=name: open(f"/proc/self/{name}").read().split()) for name in ("uid_map", "gid_map", "setgroups")],  # type: ignore[misc]
        "oom": tried(lambda: open("/proc/self/oom_score_adj").read()),
        "group": [os.getpgrp() == own, os.getsid(0) == own, os.getppid() == os.getpgrp(), tried(lambda: os.tcgetpgrp(0) == os.getpgrp())],
        "first": own if own < 10 else "another",
        "signals": [sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())), sorted(number for number in signal.valid_signals() if signal.getsignal(number) == signal.SIG_IGN)],
        "prctl": {name: prctl(number) for name, number in PRCTLS.items()} | {"death": death_signal()},
        "host": [os.uname().nodename, os.uname().machine],
        "processes": tried(lambda: len([name for name in os.listdir("/proc") if name.isdigit()]) < 8),
        "sockets": {f"{family} {kind}": tried(lambda a=family, b=kind: socket_of(a, b)) for family in FAMILIES for kind in KINDS},  # type: ignore[misc]
        "ports": [tried(lambda: bound(0)), tried(lambda: bound(24567))],
        "signalled": [tried(lambda: os.kill(os.getppid(), 0)), tried(lambda: os.kill(1, 0))],
        "calls": {name: called(words) for name, words in CALLS.items()} if os.uname().machine == "x86_64" else {},
        "paths": {path: reached(path) for path in (*PATHS, ".", "..", os.environ.get("TMPDIR", "/"), os.environ.get("HOME", "/"))},
    }  # fmt: skip


def main() -> None:
    """Write it to standard output, and end as the second argument says."""
    outside = json.loads(sys.argv[1])
    text = json.dumps(everything(outside), default=str) + "\n"  # an event may come behind it
    data = text.encode()
    while data:
        data = data[os.write(1, data) :]
    how = int(sys.argv[2])
    if how < 0:
        signal.signal(-how, signal.SIG_DFL) if -how not in (signal.SIGKILL, signal.SIGSTOP) else None
        os.kill(os.getpid(), -how)
    os._exit(max(how, 0))


if __name__ == "__main__":
    main()
