"""What a commit holds between its walk and its batches: directories, changes that wait, and those that were refused."""

from __future__ import annotations

import os
from typing import NamedTuple

from sandrun.workspace import diff

CHANGED, APPEARED = "changed since the start", "appeared since the start"
REMOVED = "perhaps removed since the start"
EXCHANGED = "exchanged during the commit"


class Left(NamedTuple):
    """Something that was not committed: the path in its directory, and why."""

    directory: str
    path: str
    why: str


class RefusedError(Exception):
    """This change is not committed; the message is why."""


class Place:
    """One directory, above and below, and what is staged in it: freed when nothing is."""

    __slots__ = ("above", "below", "inode", "is_changed", "path")

    def __init__(self, path: str, above: int, below: int, *, since: int, touched: set[int]) -> None:
        self.path, self.above, self.below = path, above, below
        found = os.fstat(below)
        self.inode = found.st_ino
        self.is_changed = diff.changed_since(found, since) and found.st_ino not in touched
        """Somebody else made or removed something in it since the start."""

    def own_doing(self) -> set[int]:
        """The inode, to be remembered before something is made in it, unless somebody else did that."""
        return set() if self.is_changed else {self.inode}

    def close(self) -> None:
        os.close(self.above)
        os.close(self.below)


class Op(NamedTuple):
    """One change that waits for its batch. Without `temporary` the name is deleted, or only leaves the upper tree."""

    place: Place
    name: str
    below: os.stat_result | None
    temporary: str = ""
    is_done: bool = False
    """Nothing is to be done below."""


class Visit(NamedTuple):
    """A directory to be gone through: the one with this status, whatever else takes its path meanwhile."""

    path: str
    below: os.stat_result


class Leave(NamedTuple):
    """The end of a directory: its mode, owner and attributes, for a new one its times, then its removal above if empty."""

    path: str
    above: os.stat_result
    below: os.stat_result
    is_new: bool
