"""seccomp(2): the numbers of what a program returns.

LIGHT. Programs are made by `seccomp_compile`; `launch` loads them through `libc`.
"""

from __future__ import annotations

# What a program returns: linux/seccomp.h. The kernel takes the most restrictive answer of all programs, in this order.
KILL_PROCESS = 0x80000000
ERRNO = 0x00050000
LOG = 0x7FFC0000
ALLOW = 0x7FFF0000

ACTION_MASK = 0xFFFF0000
"""The bits of the answer without its data, such as the errno."""
MAX_INSTRUCTIONS = 4096
"""BPF_MAXINSNS: the longest program that the kernel takes."""


def errno_action(number: int) -> int:
    """The action that makes a syscall fail with this errno (1 to 4095)."""
    if not 0 < number < 4096:
        raise ValueError(f"not an errno: {number}")
    return ERRNO | number
