"""The names of capabilities and securebits, and the bounding set (capabilities(7)).

LIGHT. What sets them is in `capset`, which a launch by the native executor does not import.
"""

from __future__ import annotations

import errno

from sandrun import libc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

NAMES: tuple[str, ...] = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
)
"""By number, as in linux/capability.h. A number above is `CAP_41` and so on."""
NUMBERS: dict[str, int] = {name: number for number, name in enumerate(NAMES)}
CAP_SETUID, CAP_SETPCAP = NUMBERS["CAP_SETUID"], NUMBERS["CAP_SETPCAP"]
_MOST = 64
"""The kernel's masks have this many bits."""

SECUREBITS: dict[str, int] = {
    "noroot": 0b11 << 0,
    "no_setuid_fixup": 0b11 << 2,
    "keep_caps": 0b11 << 4,
    "no_cap_ambient_raise": 0b11 << 6,
}
"""Each securebit with its lock: a bit that the command could clear again would promise nothing."""


def mask(words: Iterable[str]) -> int:
    """The mask of these capabilities. Raises ValueError for a name that does not exist."""
    result = 0
    for word in words:
        number = NUMBERS.get(word)
        if number is None:
            digits = word.removeprefix("CAP_")
            if not digits.isdecimal() or not len(NAMES) <= int(digits) < _MOST:
                raise ValueError(f"no such capability: {word}")
            number = int(digits)
        result |= 1 << number
    return result


def names(capabilities: int) -> tuple[str, ...]:
    """The names of the capabilities in a mask, by number."""
    numbers = (number for number in range(_MOST) if capabilities >> number & 1)
    return tuple(NAMES[number] if number < len(NAMES) else f"CAP_{number}" for number in numbers)


def bounding_set() -> tuple[int, int]:
    """The bounding set and the number of the last capability that this kernel has."""
    capabilities = 0
    for number in range(_MOST):
        try:
            capabilities |= libc.prctl(libc.PR_CAPBSET_READ, number) << number
        except OSError as error:
            if error.errno != errno.EINVAL or not number:
                raise
            return capabilities, number - 1
    return capabilities, _MOST - 1
