"""What a run used of limited things → limits with headroom, rounded up so that two runs say the same. Pure.

Not limited: `data`, whose highest is nowhere kept; `nproc`, which counts all processes of a user, also those outside;
`stack`, which decides how threads and address spaces are laid out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

M = 1 << 20
HEADROOM = {"nofile": 4, "fsize": 8, "as": 4}
LEAST = {"nofile": 256, "fsize": 256 * M, "as": 1024 * M}
"""Less is not worth the failures: input grows, machines have more processors, output goes to other files."""
MOST_AS = 1 << 44
"""Whoever reserves more than this, as sanitizers do, has no use for a limit."""
_SAID = {
    "nofile": "room for {} descriptors was used",
    "fsize": "bytes; the largest file written had {}",
    "as": "bytes; the largest process had {}",
}


def limits(highest: Mapping[str, int]) -> Iterator[tuple[str, int, str]]:
    """(name, value, why) for each limit that a profile can state after this run."""
    for name, least in LEAST.items():
        used = highest.get(name, 0)
        if name == "as" and not 0 < used * HEADROOM[name] <= MOST_AS:
            continue
        if name == "nofile" and not used:
            continue
        wanted = max(least, used * HEADROOM[name])
        yield name, 1 << (wanted - 1).bit_length(), _SAID[name].format(used if name == "nofile" else shown_size(used))


def shown_size(number: int) -> str:
    """Bytes as a person says them."""
    for unit, size in (("G", 1 << 30), ("M", M), ("K", 1 << 10)):
        if number >= size:
            return f"{number / size:.1f}{unit}"
    return str(number)
