"""Many files → few entries: where enough of a directory was used, the directory stands for it. Pure.

Evidence only adds up, and `may_cover` has the last word: a directory that it refuses never becomes an entry because of
what is in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

ENOUGH = 4
"""So many names of one directory were used: then all of it is granted."""
FEWEST = 2
"""Less is no evidence, however long the list gets."""
MOST_PROGRAMS = 3


class Evidence(NamedTuple):
    """Why an entry is there: which programs did it, how often, and when first (seconds since the start)."""

    programs: tuple[str, ...]
    times: int
    first: float

    def __str__(self) -> str:
        named = ", ".join(self.programs[:MOST_PROGRAMS])
        more = len(self.programs) - MOST_PROGRAMS
        times = "once" if self.times == 1 else f"{self.times} times"
        return f"{named}{f' and {more} more' if more > 0 else ''}: {times}, first after {self.first:.2f}s"


def together(several: Iterable[Evidence]) -> Evidence:
    """The evidence of several things as that of one."""
    several = sorted(several, key=lambda one: (one.first, one.programs))
    programs = dict.fromkeys(program for one in several for program in one.programs)
    return Evidence(
        tuple(programs), sum(one.times for one in several), min((one.first for one in several), default=0.0)
    )


def collapse(
    uses: Mapping[str, Evidence], may_cover: Callable[[str], bool], most: int, enough: int = ENOUGH
) -> dict[str, Evidence]:
    """Entries that cover every path of `uses` (absolute, canonical), sorted, none of them inside another.

    At first `enough` names have to be used of a directory; if the list is longer than `most` then, fewer, down to
    FEWEST. It may stay longer: nothing is left out, and nothing that `may_cover` refuses is granted.
    """
    found = _without_nested(uses)
    for needed in range(max(enough, FEWEST), FEWEST - 1, -1):
        found = _upwards(found, may_cover, needed)
        if len(found) <= most:
            break
    return dict(sorted(found.items()))


def _upwards(uses: Mapping[str, Evidence], may_cover: Callable[[str], bool], needed: int) -> dict[str, Evidence]:
    found = dict(uses)
    for depth in range(max((path.count("/") for path in found), default=0), 0, -1):
        below: dict[str, list[str]] = {}
        for path in found:
            if path.count("/") == depth:
                below.setdefault(_directory(path), []).append(path)
        for directory, paths in below.items():
            if len(paths) >= needed and may_cover(directory):
                inside = [path for path in found if path.startswith(directory + "/")]
                found[directory] = together(found.pop(path) for path in inside)
    return found


def _without_nested(uses: Mapping[str, Evidence]) -> dict[str, Evidence]:
    """What lies inside another entry is covered by it, and is evidence for it."""
    covering: dict[str, list[Evidence]] = {}
    for path in sorted(uses):
        covering.setdefault(cover(path, covering) or path, []).append(uses[path])
    return {path: together(several) for path, several in covering.items()}


def cover(path: str, entries: Mapping[str, object]) -> str:
    """The entry that a path is or lies below; "" if there is none."""
    while path:
        if path in entries:
            return path
        path = _directory(path) if path != "/" else ""
    return ""


def _directory(path: str) -> str:
    return path.rpartition("/")[0] or "/"
