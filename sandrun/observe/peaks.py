"""How much of what setrlimit(2) limits a command used: the highest that was seen of each.

Address space and the table of descriptors are asked for where a process is about to end or to execute another
program. Of a process that a signal ends there is nothing, unless it executed something before. The length of files is
taken at the same ends, of those that the process has opened for writing by their names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandrun.primitives.landlock import FS

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandrun.observe.events import Event
    from sandrun.observe.tracee import Tracee

MOST_FILES = 4096
"""Kept of all processes together, and looked through at the end of one."""
_ENDS = frozenset(("exit_group", "execve", "execveat"))
_MARKS = {"as": "VmPeak", "nofile": "FDSize"}


class Peaks:
    """`tap` and `see` are an observer's, for the calls and their events. `highest`: by the names of setrlimit(2), in bytes; `nofile` is the room for descriptors,
    of which a process used more than half or the least there is."""

    def __init__(self) -> None:
        self.highest: dict[str, int] = {}
        self._written: dict[int, set[str]] = {}
        self._files = 0

    def see(self, event: Event) -> None:
        """Remember what a process is about to write to."""
        for place in event.places:
            if not place.rights & FS["write_file"] or event.refused or self._files >= MOST_FILES:
                continue
            mine = self._written.setdefault(event.pid, set())
            self._files += place.real not in mine
            mine.add(place.real)

    def tap(self, _tid: int, name: str, _arguments: tuple[int, ...], look: Callable[[], Tracee]) -> None:
        """Look at the caller if it is about to end."""
        try:
            if name in _ENDS:
                self._end(look())
        except OSError:
            return  # it is gone

    def _end(self, tracee: Tracee) -> None:
        found = tracee.memory()
        for limit, mark in _MARKS.items():
            self._higher(limit, found.get(mark, 0))
        for path in self._written.pop(tracee.pid, ()):
            self._files -= 1
            self._higher("fsize", tracee.length(path))

    def _higher(self, name: str, value: int) -> None:
        if value > self.highest.get(name, 0):
            self.highest[name] = value
