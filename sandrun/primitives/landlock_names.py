"""The adapter of the package `landlock`: the names and bits it knows, and the probe of the kernel.

Not LIGHT: the package costs 40 ms and its modules `platform` and `enum`. It is imported here and nowhere else, when a
profile is resolved. What is wrong with the package stays behind this border: it takes a stale errno for a failure of
a call that succeeded, and cannot say why a call failed on a kernel with an odd release string.
"""

from __future__ import annotations

import ctypes
import errno
from typing import NamedTuple

from landlock import FSAccess, SyscallError, landlock_abi_version

from sandrun.primitives.landlock import FS

AVAILABLE, DISABLED, MISSING, REFUSED = "available", "disabled", "missing", "refused"


class Probe(NamedTuple):
    """What the kernel says of Landlock: the ABI version (0 if none can be had) and the state.

    `state` is "available", "disabled" (EOPNOTSUPP: built in, but not in the kernel's LSM list), "missing" (ENOSYS: not
    built in) or "refused" (any other answer: an outer filter).
    """

    abi: int
    state: str


def _rights() -> dict[str, int]:
    """Every file system right by name: the package's where it knows one, ours above.

    Raises RuntimeError if the two disagree: then one of them would grant something else than its name says.
    """
    theirs = {name.lower(): int(member) for name, member in FSAccess.__members__.items()}
    wrong = sorted(name for name, bit in theirs.items() if FS.get(name) != bit)
    if wrong:
        raise RuntimeError("the package landlock and sandrun disagree about: " + ", ".join(wrong))
    return FS | theirs


RIGHTS: dict[str, int] = _rights()


def probe() -> Probe:
    """Ask the kernel for its Landlock ABI."""
    # The package looks at errno instead of the returned value, and its copy may be left over from any other call.
    ctypes.set_errno(0)
    landlock_abi_version.cache_clear()
    try:
        return Probe(landlock_abi_version(), AVAILABLE)
    except (SyscallError, ValueError):
        # ValueError: for its message the package takes the release apart, which fails for "6.18.44+deb12". The number
        # of the failed call is still in ctypes' copy; SyscallError itself is not to be printed, its repr is broken.
        number = ctypes.get_errno()
    finally:
        ctypes.set_errno(0)
    return Probe(0, {errno.EOPNOTSUPP: DISABLED, errno.ENOSYS: MISSING}.get(number, REFUSED))
