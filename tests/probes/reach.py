"""What a command can reach, tried: one attempt for a line of the audit. Its source travels by `python -c`.

It imports nothing but the standard library. The argument is JSON: what the test made outside. It prints the names of the
lines whose attempt succeeded.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import socket
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

IS_ARM = os.uname().machine == "aarch64"
SYS_ADD_KEY = 217 if IS_ARM else 248
SYS_PROCESS_VM_READV = 270 if IS_ARM else 310
SYS_IO_URING_SETUP = 425
SYS_DELETE_MODULE = 106 if IS_ARM else 176
CLONE_NEWUSER = 0x10000000
KEY_SPEC_PROCESS_KEYRING = -2
PR_GET_NO_NEW_PRIVS = 39
O_NONBLOCK = 0o4000
ENOENT, EFAULT = 2, 14
SYSLOG_SIZE_UNREAD, SYSLOG_CONSOLE_ON = 9, 7

libc = ctypes.CDLL(None, use_errno=True)


def syscall(number: int, *arguments: Any, fine: tuple[int, ...] = ()) -> None:
    """A raw syscall. Raises OSError, but not for an error that only a call that was let through gives."""
    if libc.syscall(number, *arguments) < 0 and ctypes.get_errno() not in fine:
        raise OSError(ctypes.get_errno(), "")


def check(result: int) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), "")


def write(path: str) -> None:
    with open(path, "a", encoding="utf-8") as file:
        file.write("#")


def connect(family: int, address: Any) -> None:
    with socket.socket(family, socket.SOCK_STREAM) as one:
        one.settimeout(5)
        one.connect(address)


def send(address: tuple[str, int]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.sendto(b"x", address)


def is_killed(pid: int) -> None:
    """Whether the process outside may be signalled is asked without a signal."""
    os.kill(pid, 0)


def user_namespace() -> None:
    pid = os.fork()
    if not pid:
        os._exit(1 if libc.unshare(CLONE_NEWUSER) else 0)
    if os.waitpid(pid, 0)[1]:
        raise PermissionError


def is_other(pid: int, name: str) -> None:
    """The process of that number is the one of the test, and not another of the same number in a namespace."""
    with open(f"/proc/{pid}/cmdline", encoding="utf-8") as file:
        if name not in file.read():
            raise ProcessLookupError


def memory(pid: int) -> None:
    vector = (ctypes.c_size_t * 2)(0, 1)
    buffer = ctypes.create_string_buffer(1)
    local = (ctypes.c_size_t * 2)(ctypes.addressof(buffer), 1)
    syscall(SYS_PROCESS_VM_READV, pid, local, 1, vector, 1, 0, fine=(EFAULT,))


def has_privileges() -> None:
    if libc.prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0):
        raise PermissionError


def dumps() -> None:
    if not resource.getrlimit(resource.RLIMIT_CORE)[1]:
        raise PermissionError


def attempts(out: dict[str, Any]) -> dict[str, Callable[[], object]]:
    """By the audit's name of the line. `out` are ids, paths and ports."""
    pid = out["pid"]
    return {
        "System V shared memory": lambda: check(-(libc.shmat(out["shm"], None, 0) == -1)),
        "System V semaphores": lambda: check(libc.semctl(out["sem"], 0, 12)),
        "System V message queues": lambda: check(libc.msgsnd(out["msg"], (ctypes.c_long * 2)(1, 1), 8, O_NONBLOCK)),
        "POSIX message queues": lambda: check(libc.mq_unlink(out["mq"].encode())),
        "POSIX shared memory and semaphores": lambda: write(out["posix"]),
        "keyrings": lambda: syscall(SYS_ADD_KEY, b"user", b"srtest", b"x", 1, KEY_SPEC_PROCESS_KEYRING),
        "limits of other processes": lambda: resource.prlimit(pid, resource.RLIMIT_NOFILE),
        "priority and processors of other processes": lambda: os.setpriority(os.PRIO_PROCESS, pid, 3),
        "memory and descriptors of other processes": lambda: memory(pid),
        "signals to others": lambda: is_killed(pid),
        "list of others in /proc": lambda: is_other(pid, out["name"]),
        "TCP, the host's loopback too": lambda: connect(socket.AF_INET, ("127.0.0.1", out["tcp"])),
        "UDP, the host's loopback too": lambda: send(("127.0.0.1", out["udp"])),
        "raw IP": lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1).close(),
        "netlink": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0).close(),
        "abstract unix sockets": lambda: connect(socket.AF_UNIX, out["abstract"]),
        "ssh and gpg agents": lambda: connect(socket.AF_UNIX, out["agent"]),
        "what io_uring does past the filter": lambda: syscall(SYS_IO_URING_SETUP, 1, ctypes.create_string_buffer(120)),
        "temporary directories": lambda: write(out["temporary"]),
        "start files of shells": lambda: write(out["home"] + "/.bashrc"),
        "ssh": lambda: write(out["home"] + "/.ssh/authorized_keys"),
        "autostart of desktops": lambda: os.mkdir(out["home"] + "/.config/autostart"),
        "accounts": lambda: os.close(os.open("/etc/passwd", os.O_WRONLY)),
        "/proc knobs": lambda: os.close(os.open("/proc/sys/kernel/core_pattern", os.O_WRONLY)),
        "mode, owner, times and attributes of files not granted": lambda: os.utime(out["other"], (1, 1)),
        "set-id programs made": lambda: os.chmod(out["work"] + "/file", 0o4755),
        "set-id programs used": has_privileges,
        "core dumps": dumps,
        "memory, disks, input, sound, pictures": lambda: os.close(os.open("/dev/fuse", os.O_RDWR)),
        "host name": lambda: check(libc.sethostname(os.uname().nodename.encode(), len(os.uname().nodename))),
        "modules": lambda: syscall(SYS_DELETE_MODULE, b"srtest_no_such_module", O_NONBLOCK, fine=(ENOENT,)),
        "log of the kernel": lambda: check(libc.klogctl(SYSLOG_CONSOLE_ON, None, 0)),
        "new user namespaces": user_namespace,
        "other descriptors of the caller": lambda: os.fstat(out["fd"]),
    }


def reached(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except OSError:
        return False
    return True


if __name__ == "__main__":
    made = json.loads(sys.argv[1])
    print(json.dumps([name for name, attempt in attempts(made).items() if reached(attempt)]))
