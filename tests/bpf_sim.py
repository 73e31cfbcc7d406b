"""An interpreter of classic BPF as seccomp(2) runs it, with constants of its own.

Nothing is shared with the product: a wrong number there cannot make a test agree with it.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

X86_64, I386, AARCH64, ARM = 0xC000003E, 0x40000003, 0xC00000B7, 0x40000028
X32_BIT = 0x40000000

KILL_PROCESS, KILL_THREAD, TRAP, ERRNO, TRACE, LOG, ALLOW = (
    0x80000000,
    0x00000000,
    0x00030000,
    0x00050000,
    0x7FF00000,
    0x7FFC0000,
    0x7FFF0000,
)
EPERM, EACCES, EINVAL, ENOSYS, EOPNOTSUPP, EAFNOSUPPORT = 1, 13, 22, 38, 95, 97


def run(program: bytes, number: int, args: Sequence[int] = (), arch: int = X86_64, at: int = 0x1234) -> int:
    """What one program returns for a syscall made `at` an address; `number` and `args` are cut to their registers' size."""
    registers = [value & (1 << 64) - 1 for value in (*args, *([0] * (6 - len(args))))]
    data = struct.pack("=IIQ6Q", number & 0xFFFFFFFF, arch, at, *registers)
    code = list(struct.iter_unpack("=HBBI", program))
    accumulator = index = at = 0
    memory = [0] * 16
    while True:
        operation, true, false, k = code[at]
        at += 1
        match operation:
            case 0x06:  # ret k
                return k
            case 0x20:  # ld [k]
                assert k % 4 == 0
                (accumulator,) = struct.unpack_from("=I", data, k)
            case 0x00:  # ld #k
                accumulator = k
            case 0x60:  # ld M[k]
                accumulator = memory[k]
            case 0x02:  # st M[k]
                memory[k] = accumulator
            case 0x54:  # and #k
                accumulator &= k
            case 0x05:  # ja
                at += k
            case 0x15 | 0x25 | 0x35 | 0x45:  # jeq, jgt, jge, jset
                holds = {
                    0x15: accumulator == k,
                    0x25: accumulator > k,
                    0x35: accumulator >= k,
                    0x45: accumulator & k != 0,
                }[operation]
                at += true if holds else false
            case 0x07:  # tax
                index = accumulator
            case 0x87:  # txa
                accumulator = index
            case _:
                raise AssertionError(f"instruction {at - 1}: unknown operation {operation:#x}")


def verdict(programs: Sequence[bytes], number: int, args: Sequence[int] = (), arch: int = X86_64) -> int:
    """The kernel's answer: the most restrictive of all programs; of equal ones the last loaded."""
    answer = ALLOW
    for program in reversed(programs):
        result = run(program, number, args, arch)
        if _signed(result & 0xFFFF0000) < _signed(answer & 0xFFFF0000):
            answer = result
    return answer


def _signed(action: int) -> int:
    return action - (1 << 32) if action >> 31 else action
