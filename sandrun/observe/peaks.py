"""How much of what setrlimit(2) limits a command used: the highest that was seen of each.

Address space and the table of descriptors are asked for where a process is about to end or to execute another
program. Of a process that a signal ends there is nothing, unless it executed something before. The length of files is
taken when a descriptor that was open for writing is about to be closed, and at the same ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandrun.observe.tracee import Tracee

MOST_DESCRIPTORS = 4096
"""Looked through at the end of one process."""
_ENDS = frozenset(("exit_group", "execve", "execveat"))
_CLOSES = {"close": 0, "dup2": 1, "dup3": 1}
"""Which argument is the descriptor that is about to be closed."""
_MARKS = {"as": "VmPeak", "nofile": "FDSize"}


class Peaks:
    """`tap` is an observer's. `highest`: by the names of setrlimit(2), in bytes; `nofile` is the room for descriptors,
    of which a process used more than half or the least there is."""

    def __init__(self) -> None:
        self.highest: dict[str, int] = {}

    def tap(self, _tid: int, name: str, arguments: tuple[int, ...], look: Callable[[], Tracee]) -> None:
        """Look at the caller if it is about to end or to close something."""
        try:
            if name in _CLOSES:
                self._higher("fsize", look().written(arguments[_CLOSES[name]]))
            elif name in _ENDS:
                self._end(look())
        except OSError:
            return  # nothing is open there, or it is gone

    def _end(self, tracee: Tracee) -> None:
        found = tracee.memory()
        for limit, mark in _MARKS.items():
            self._higher(limit, found.get(mark, 0))
        for fd in tracee.descriptors(MOST_DESCRIPTORS):
            try:
                self._higher("fsize", tracee.written(fd))
            except OSError:
                continue  # another thread closed it

    def _higher(self, name: str, value: int) -> None:
        if value > self.highest.get(name, 0):
            self.highest[name] = value
