"""The inside half of an escape attempt: raw syscalls and the verdict. Its source travels with the attempt by `python -c`.

It must import nothing but the standard library, since nothing else need be readable inside.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ESCAPED, BLOCKED = 0, 3
"""The exit statuses of an attempt. Any other one means that the attempt itself is broken."""
REFUSALS = ("EPERM", "EACCES", "EROFS", "ENOENT", "ESRCH")
"""The control shows that what is absent or read-only in the command's own namespaces is there and can be changed."""
SECRET = "the secret of this test"
BELOW_ANOTHER_INIT = (
    *("unshare", "--user", "--map-current-user", "--pid", "--fork", "--mount-proc"),
    *("sh", "-c", '"$@"; exit $?', "sh"),
)
"""A PREFIX with which the control has a process 1 of its own user too, which is not sandrun's."""
NO_NAMESPACES = (
    "echo 0 >/proc/sys/user/max_user_namespaces"
    ' && exec setpriv --bounding-set -all --ambient-caps -all --inh-caps -all "$@"'
)
WITHOUT_NAMESPACES = ("unshare", "--user", "--map-current-user", "--keep-caps", "sh", "-c", NO_NAMESPACES, "sh")
"""A PREFIX in a user namespace that allows no other, without capabilities."""

NUMBERS: dict[str, tuple[int, int]] = {
    # syscall: its number on x86_64 and on aarch64, from the kernel's tables and not from sandrun's
    "socket": (41, 198),
    "sendto": (44, 206),
    "clone": (56, 220),
    "exit": (60, 93),
    "getpid": (39, 172),
    "ptrace": (101, 117),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "settimeofday": (164, 170),
    "mount": (165, 40),
    "umount2": (166, 39),
    "swapon": (167, 224),
    "reboot": (169, 142),
    "sethostname": (170, 161),
    "init_module": (175, 105),
    "delete_module": (176, 106),
    "clock_settime": (227, 112),
    "kexec_load": (246, 104),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "unshare": (272, 97),
    "perf_event_open": (298, 241),
    "prlimit64": (302, 261),
    "linkat": (265, 37),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "clock_adjtime": (305, 266),
    "setns": (308, 268),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "finit_module": (313, 273),
    "renameat2": (316, 276),
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "ioctl": (16, 29),
    "io_uring_setup": (425, 425),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "clone3": (435, 435),
    "pidfd_getfd": (438, 438),
    "mount_setattr": (442, 442),
    "fchmodat2": (452, 452),
    "setxattrat": (463, 463),
    "file_setattr": (469, 469),
}

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


class Blocked(Exception):
    """The attempt saw that it is blocked without an error number that says so."""


def supervisor() -> int:
    """The process id of the parent. Raises Blocked where it has none: in a pid namespace of the command's own."""
    pid = os.getppid()
    if not pid:
        raise Blocked("the parent is not in this pid namespace")
    return pid


def syscall(name: str, *arguments: int | bytes | ctypes.Array[ctypes.c_char] | None) -> int:
    """A raw syscall; integers are passed in 64 bits. Raises OSError."""
    number = NUMBERS[name][os.uname().machine == "aarch64"]
    words = [ctypes.c_ulong(word) if isinstance(word, int) else word for word in arguments]
    ctypes.set_errno(0)
    result: int = libc.syscall(ctypes.c_long(number), *words)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), name)
    return result


def reaches_the_kernel(name: str, *arguments: int | bytes | None, answers: Sequence[str] = ("EFAULT",)) -> None:
    """Call with arguments that a kernel that gets to see them answers so (or accepts), before it asks for privileges."""
    try:
        syscall(name, *arguments)
    except OSError as error:
        if errno.errorcode[error.errno or 0] not in answers:
            raise


def family_reaches_the_kernel(family: int) -> None:
    """Ask for a socket of a type that does not exist: a kernel that gets to see it says EINVAL, whatever it supports."""
    reaches_the_kernel("socket", family, 12, 0, answers=("EINVAL",))


def see(data: str | bytes) -> None:
    """The attempt read this: it is the secret, or the attempt is broken."""
    text = data.decode() if isinstance(data, bytes) else data
    if SECRET not in text:
        raise RuntimeError(f"read something else: {text!r}")


def read(path: str) -> None:
    """Read the secret at this path."""
    with open(path, encoding="utf-8") as file:
        see(file.read())


def fetch(host: str, port: str | int = 80) -> None:
    """Read the secret from the server there, which speaks first."""
    with socket.create_connection((host, int(port)), 30) as connection:
        told = connection.recv(1000)
    if not told:
        raise Blocked("the connection ended at once")
    see(told)


def judge(attempt: Callable[..., None], arguments: Sequence[str], refusals: Sequence[str]) -> None:
    """Run the attempt and end the process with its verdict."""
    status = ESCAPED
    try:
        attempt(*arguments)
    except Blocked as blocked:
        print(f"blocked: {blocked}", file=sys.stderr)
        status = BLOCKED
    except OSError as error:
        if errno.errorcode.get(error.errno or 0) not in refusals:
            raise
        print(f"blocked: {error!r}", file=sys.stderr)
        status = BLOCKED
    sys.stderr.flush()
    os._exit(status)
