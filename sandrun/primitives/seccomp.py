"""seccomp(2): the numbers of its actions, and loading ready-made programs.

LIGHT. Programs are made by `seccomp_compile`; here they are only handed to the kernel.
"""

from __future__ import annotations

from sandrun import libc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

# What a program returns: linux/seccomp.h. The kernel takes the most restrictive answer of all programs, in this order.
KILL_PROCESS = 0x80000000
ERRNO = 0x00050000
LOG = 0x7FFC0000
ALLOW = 0x7FFF0000

MAX_INSTRUCTIONS = 4096
"""BPF_MAXINSNS: the longest program that the kernel takes."""


def errno_action(number: int) -> int:
    """The action that makes a syscall fail with this errno (1 to 4095)."""
    if not 0 < number < 4096:
        raise ValueError(f"not an errno: {number}")
    return ERRNO | number


def prepare(programs: Sequence[bytes]) -> tuple[libc.SockFprog, ...]:
    """The programs as the kernel wants them, in order of loading. Made in the parent."""
    return tuple(libc.SockFprog(program) for program in programs)


def apply(prepared: tuple[libc.SockFprog, ...], flags: int) -> None:
    """Load the programs into the calling thread and what it executes. Irreversible.

    Needs no_new_privs or CAP_SYS_ADMIN. Raises OSError: EACCES without either, EINVAL for a program that the kernel
    does not take, ENOMEM if all programs together are too long.
    """
    for program in prepared:
        libc.seccomp(libc.SECCOMP_SET_MODE_FILTER, flags, program)
