"""The system calls that were seen → a short list of @sets and single names that allows them. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sandrun.policy import syscalls

if TYPE_CHECKING:
    from collections.abc import Mapping

ALWAYS = ("@default", "@basic-io")
"""What every program of a C library needs to start, to read and write and to end, seen or not (systemd.exec(5))."""
MAKING = frozenset(("clone", "clone3", "fork", "vfork"))
"""What makes processes and threads: which of them, is up to the C library."""
SEEN = frozenset(("execve", "exit", "exit_group", "read", "set_robust_list"))
ORDINARY = (
    *("@file-system", "@io-event", "@ipc", "@memlock", "@network-io", "@process", "@resources"),
    *("@setuid", "@signal", "@sync", "@timer", "@pkey"),
)
"""Sets of which a part is reason enough for the whole: an ordinary program under other circumstances makes the rest."""
HARMLESS = "@system-service"
WORTH = 2
"""A set takes the place of so many names."""


class Cover(NamedTuple):
    """The entries, each with the names among those seen that it is there for, and those that deserve a warning."""

    entries: tuple[tuple[str, tuple[str, ...]], ...]
    unusual: tuple[str, ...]
    """Entries that no ordinary service makes."""


def unseen(arch: str) -> frozenset[str]:
    """What a learning run has no need to be shown: it is always granted, or shows by what the new process does.

    A call that is shown may fail with EINTR when its caller gets a signal, also where it never does otherwise, and few
    programs expect that of close(2) or clone(2).
    """
    granted = frozenset(name for group in ALWAYS for name in _names(group, arch))
    return ((granted | MAKING) & syscalls.numbers(arch).keys()) - SEEN


def cover(seen: Mapping[str, int], arch: str) -> Cover:
    """Entries of `syscalls.allow` that cover every syscall of `seen` (name -> how often); greedy, sets first.

    Names of the form `#NUMBER` become raw numbers.
    """
    left = {name.removeprefix("#"): count for name, count in seen.items()}
    entries = [(name, _take(left, _names(name, arch))) for name in ALWAYS]
    sets = {name: _names(name, arch) for name in ORDINARY}

    def worth(name: str) -> int:
        met = sets[name] & left.keys()
        return len(met - MAKING) + bool(met & MAKING)

    while sets:
        best = max(sets, key=lambda name: (worth(name), name))
        if worth(best) < WORTH:
            break
        entries.append((best, _take(left, sets.pop(best))))
    singles = sorted(left, key=lambda name: (-left[name], name))
    harmless = _names(HARMLESS, arch) | _names("@pkey", arch)
    return Cover(
        (*entries, *((name, (name,)) for name in singles)),
        tuple(name for name in singles if name not in harmless),
    )


def _names(group: str, arch: str) -> frozenset[str]:
    wanted = set(syscalls.meaning(group, arch).numbers)
    return frozenset(name for name, number in syscalls.numbers(arch).items() if number in wanted)


def _take(left: dict[str, int], names: frozenset[str]) -> tuple[str, ...]:
    taken = sorted((name for name in left if name in names), key=lambda name: (-left[name], name))
    for name in taken:
        del left[name]
    return tuple(taken)
