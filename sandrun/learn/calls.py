"""The system calls that were seen → a short list of @sets and single names that allows them. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sandrun.policy import syscalls

if TYPE_CHECKING:
    from collections.abc import Mapping

ALWAYS = "@default"
"""What every program of a C library needs to start and to end, seen or not (systemd.exec(5))."""
ORDINARY = (
    *("@basic-io", "@file-system", "@io-event", "@ipc", "@memlock", "@network-io", "@process", "@resources"),
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


def cover(seen: Mapping[str, int], arch: str) -> Cover:
    """Entries of `syscalls.allow` that cover every syscall of `seen` (name -> how often); greedy, sets first.

    Names of the form `#NUMBER` become raw numbers.
    """
    left = {name.removeprefix("#"): count for name, count in seen.items()}
    sets = {name: _names(name, arch) for name in (ALWAYS, *ORDINARY)}
    entries = [(ALWAYS, _take(left, sets.pop(ALWAYS)))]
    while sets:
        best = max(sets, key=lambda name: (len(sets[name] & left.keys()), name))
        if len(sets[best] & left.keys()) < WORTH:
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
