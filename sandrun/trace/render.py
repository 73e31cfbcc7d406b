"""What a trace says: lines for people, and a document for programs."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any, NamedTuple

from sandrun.learn.calls import cover
from sandrun.trace.places import gap

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sandrun.observe.events import Record
    from sandrun.trace.coverage import Promised, Sufficient

MOST, MOST_PLACES = 6, 3
"""So many names are shown in a line; JSON has all."""


class Traced(NamedTuple):
    """The end of a trace."""

    record: Record
    promised: Promised
    profiles: tuple[Sufficient, ...]
    arch: str

    @property
    def section(self) -> str:
        """The key of the report that holds it."""
        return "trace"

    def text(self) -> list[str]:
        """Lines for stderr."""
        return [*_calls(self.record), *_refused(self.record), *self._coverage(), *self._missing()]

    def document(self) -> dict[str, Any]:
        """For programs."""
        sets, singles = self._sets()
        first = self.record.first
        return {
            "total": sum(self.record.calls.values()),
            "syscalls": [
                {
                    "syscall": name,
                    "calls": times,
                    "first": {"program": first[name].program, "pid": first[name].pid, "after": first[name].when}
                    if name in first
                    else None,
                }
                for name, times in _by_count(self.record)
            ],
            "refused": [
                {"syscall": name, "error": error, "calls": times} for name, error, times in _refusals(self.record)
            ],
            "sets": sets,
            "besides_sets": singles,
            "promises": list(self.promised.names),
            "besides_promises": list(self.promised.besides),
            "profiles": [
                {
                    "profile": one.name,
                    "allows": one.allows,
                    "needless": list(one.needless),
                    "refuses": list(one.refuses),
                }
                for one in self.profiles
            ],
            "tightest": self.tightest.name if self.tightest else None,
            "gap": self.gap or None,
        }

    @property
    def gap(self) -> str:
        """Why something may be missing; "" if nothing is."""
        return self.record.gap or gap(self.record)

    def _missing(self) -> Iterator[str]:
        if self.gap:
            yield f"something may be missing: {self.gap}"

    @property
    def tightest(self) -> Sufficient | None:
        """The one with the fewest calls of those that are enough for files and endpoints as well."""
        return next((one for one in self.profiles if not one.refuses), None)

    def _sets(self) -> tuple[list[str], list[str]]:
        entries = [entry for entry, names in cover(self.record.calls, self.arch).entries if names]
        return [one for one in entries if one.startswith("@")], [one for one in entries if not one.startswith("@")]

    def _coverage(self) -> Iterator[str]:
        sets, singles = self._sets()
        yield f"sets: {' '.join(sets)}{_besides(singles)}"
        yield f"promises: {' '.join(self.promised.names)}{_besides(self.promised.besides)}"
        if not self.profiles:
            yield "no built-in profile lets all these calls through"
            return
        tightest = self.tightest
        if tightest:
            yield f"tightest built-in profile: {tightest.name}, which allows {len(tightest.needless)} more calls"
        else:
            yield "no built-in profile grants all the files and endpoints; these are enough for the calls:"
        for one in self.profiles:
            if one.refuses:
                yield f"  {one.name} would refuse: {_some(one.refuses, MOST_PLACES)}"
            elif one != tightest:
                more = f"allows besides: {_some(one.needless)}" if one.needless else "allows the same calls"
                yield f"  {one.name} {more}"


def _calls(record: Record) -> Iterator[str]:
    total = sum(record.calls.values())
    yield f"{total} system call{'' if total == 1 else 's'} of {len(record.calls)} kinds"
    rows = list(_by_count(record))
    width = max((len(name) for name, _ in rows), default=0)
    for name, times in rows:
        first = record.first.get(name)
        who = f"{first.program or 'unknown'} ({first.pid})" if first else ""
        yield f"{times:9}  {name:{width}}  {who}".rstrip()


def _refused(record: Record) -> Iterator[str]:
    for name, error, times in _refusals(record):
        yield f"refused by the filters: {name}: {error}, {times} time{'' if times == 1 else 's'}"


def _by_count(record: Record) -> Iterable[tuple[str, int]]:
    return sorted(record.calls.items(), key=lambda item: (-item[1], item[0]))


def _refusals(record: Record) -> list[tuple[str, str, int]]:
    found: dict[tuple[str, int], int] = {}
    for seen in record.seen:
        if seen.first.refused:
            key = seen.first.syscall, seen.first.refused
            found[key] = found.get(key, 0) + seen.times
    return [(name, errno.errorcode.get(number, str(number)), times) for (name, number), times in found.items()]


def _besides(names: Sequence[str]) -> str:
    return f"; besides: {', '.join(names)}" if names else ""


def _some(names: tuple[str, ...], most: int = MOST) -> str:
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
