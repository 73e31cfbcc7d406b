"""What each process tried, kept as it happens: the observer's record tells what was done, and this also by whom."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sandrun.observe.events import Event

MOST = 20_000
"""Different attempts that are kept: the last ones, since a cause comes before the end."""
MOST_TEXT = 16 * 2**20
"""Characters of paths in them together."""
MOST_PROCESSES = 100_000
EXITS = frozenset(("exit_group",))
"""What tells how a process ended. One that a signal ended does not call it."""
NO_EXITS: Mapping[int, int] = MappingProxyType({})


class Attempt(NamedTuple):
    """A call of one process, made once or more often."""

    event: Event
    """The first of them."""
    last: float
    """When the last was made, in seconds since the observer began."""
    times: int = 1
    after: int = 0
    """How many other calls of the same process were observed after the last."""


class Attempts(NamedTuple):
    """All of a run."""

    made: tuple[Attempt, ...]
    """In the order of their last call."""
    exits: Mapping[int, int] = NO_EXITS
    """The exit statuses of processes, by id, as far as they are known."""
    others: int = 0
    """Different ones that are missing, since there were too many."""


class _Kept(NamedTuple):
    event: Event
    last: float
    times: int
    at: int
    """How many calls of its process were observed until the last."""


def _length(event: Event) -> int:
    return len(event.program) + sum(len(place.path) + len(place.real) for place in event.places)


class Collector:
    """The observer's `sink`."""

    def __init__(self, also: Callable[[Event], None] | None = None) -> None:
        """`also` is called with each event too."""
        self._also = also
        self._kept: dict[object, _Kept] = {}
        self._counts: dict[int, int] = {}
        self._exits: dict[int, int] = {}
        self._others = self._text = 0

    def __call__(self, event: Event) -> None:
        """Remember one event."""
        if self._also:
            self._also(event)
        if event.syscall in EXITS:
            self._exits[event.pid] = event.arguments[0] & 0xFF
            while len(self._exits) > MOST_PROCESSES:
                del self._exits[next(iter(self._exits))]
            return
        count = self._counts[event.pid] = self._counts.get(event.pid, 0) + 1
        key = event.pid, event.key
        known = self._kept.pop(key, None)
        if known:
            self._kept[key] = _Kept(known.event, event.when, known.times + 1, count)
            return
        self._text += _length(event)
        while self._kept and (len(self._kept) >= MOST or self._text > MOST_TEXT):
            gone = self._kept.pop(next(iter(self._kept)))
            self._text -= _length(gone.event)
            self._others += 1
        self._kept[key] = _Kept(event, event.when, 1, count)

    def attempts(self) -> Attempts:
        """What was seen so far."""
        made = (
            Attempt(kept.event, kept.last, kept.times, self._counts[kept.event.pid] - kept.at)
            for kept in self._kept.values()
        )
        return Attempts(tuple(made), MappingProxyType(dict(self._exits)), self._others)
