"""The adapter of the package `landlock`: a second opinion on the names and bits of rights, and on the kernel's ABI.

Not LIGHT: the package brings `dataclasses`, `inspect` and `platform`, ten milliseconds. It is imported here and nowhere
else, for the doctor, which so tells if the two ever disagree. What is wrong with the package stays behind this border:
it takes a stale errno for a failure of a call that succeeded, and cannot say why a call failed on a kernel with an odd
release string.
"""

from __future__ import annotations

import ctypes
import errno

from landlock import FSAccess, SyscallError, landlock_abi_version

from sandrun.primitives import landlock
from sandrun.primitives.landlock import FS


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


def probe() -> tuple[int, str]:
    """What `landlock.probe` answers, as the package finds it."""
    # The package looks at errno instead of the returned value, and its copy may be left over from any other call.
    ctypes.set_errno(0)
    landlock_abi_version.cache_clear()
    try:
        return landlock_abi_version(), "available"
    except (SyscallError, ValueError):
        # ValueError: for its message the package takes the release apart, which fails for "6.18.44+deb12". The number
        # of the failed call is still in ctypes' copy; SyscallError itself is not to be printed, its repr is broken.
        number = ctypes.get_errno()
    finally:
        ctypes.set_errno(0)
    return 0, {errno.EOPNOTSUPP: "disabled", errno.ENOSYS: "missing"}.get(number, "refused")


def compare() -> None:
    """Ask both. Raises RuntimeError if they disagree."""
    if (theirs := probe()) != (ours := landlock.probe()):
        raise RuntimeError(f"the package landlock and sandrun disagree: {theirs}, {ours}")
