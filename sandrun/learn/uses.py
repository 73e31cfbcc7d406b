"""Events of one run → what was done to each place, once: the noun that a profile is derived from.

What the run made itself is told apart from what was there: the one is granted by a directory, the other by its path.
"""

from __future__ import annotations

import errno
import itertools
import os
import posixpath
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from sandrun.learn.collapse import Evidence
from sandrun.observe.events import ABSENT, DIRECTORY
from sandrun.primitives.landlock import FS

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandrun.observe.events import Address, Event, Place

Key = TypeVar("Key")
MOST_PLACES = 200_000
"""Places of one run; a command that names more is told so."""
MOST_PROGRAMS = 100
MOST_MISSED = 20_000
READ, LIST, EXECUTE, WRITE, CHANGE, MAKE, ENTER = "read", "list", "execute", "write", "change", "make", "enter"
"""What is done: read a file, list a directory, execute, write what is there, change its attributes, make a file by
opening it, make or remove anything else in a directory (that directory is the place)."""
_FLAGS = {"open": 1, "openat": 2}
_ONLY_MAKE = ("mkdir", "mknod", "symlink", "link")


class Use(NamedTuple):
    """What was done to one place, and the evidence."""

    path: str
    done: str
    kind: str
    """What it was before the first time; one of the kinds of `observe.events`."""
    evidence: Evidence


class Peer(NamedTuple):
    """An address that the command named, and the evidence."""

    address: Address
    evidence: Evidence
    name: str = ""
    """The host name that the address was given for; "" if that was not seen."""


class _Count:
    __slots__ = ("count", "first", "kind", "programs")

    def __init__(self, kind: str, first: float) -> None:
        self.kind, self.first, self.count = kind, first, 0
        self.programs: dict[str, None] = {}

    def add(self, program: str) -> None:
        self.count += 1
        if len(self.programs) < MOST_PROGRAMS:
            self.programs.setdefault(program)

    def evidence(self) -> Evidence:
        return Evidence(tuple(self.programs), self.count, self.first)


class Uses:
    """Takes events as they happen (`see`), and has the sums at the end.

    `granted(path, rights)` says whether what holds during the run lets these Landlock rights be used there. What it
    refuses is not evidence that the command can do it: `refused` has it. `hidden(path)` says whether what is there is
    covered, so that the command finds nothing. `name_of(address)` is the host name that an address was given for.
    """

    def __init__(
        self,
        granted: Callable[[str, int], bool],
        hidden: Callable[[str], bool],
        name_of: Callable[[str], str] = lambda _address: "",
    ) -> None:
        self._granted, self._hidden, self._name_of = granted, hidden, name_of
        self._places: dict[tuple[str, str], _Count] = {}
        self._refused: dict[tuple[str, str], _Count] = {}
        self._addresses: dict[tuple[Address, str], _Count] = {}
        self._made: set[str] = set()
        self._missed: dict[str, None] = {}
        """What somebody asked for and did not find."""
        self.others = 0
        """Events of places for which there was no room."""
        self.blocked: dict[str, int] = {}
        """Syscalls that the filters refused, with how often."""
        self.fallen_back: set[str] = set()
        """Those of them that this kernel seems not to have: programs then make an older one (ENOSYS)."""

    def see(self, event: Event) -> None:
        """Take one event; what a filter refuses did not happen."""
        if event.refused:
            self.blocked[event.syscall] = self.blocked.get(event.syscall, 0) + 1
            if event.refused == errno.ENOSYS:
                self.fallen_back.add(event.syscall)
            return
        if not event.places and event.address is None:
            return
        program = posixpath.basename(event.program) or "?"
        if event.address is not None:
            named = event.address, self._name_of(event.address.host)
            self._count(self._addresses, named, "", event.when, program)
        for place in event.places:
            done = _done(place, event)
            if done == MAKE and place.real in self._missed:
                done = ENTER  # it would not do the same with an empty file there
            if done:
                self._place(place, done, event.when, program)
            if place.kind == ABSENT and len(self._missed) < MOST_PLACES:
                self._missed.setdefault(place.real)

    def _place(self, place: Place, done: str, when: float, program: str) -> None:
        path, kind = place.real, place.kind
        makes = place.act == "create"
        if done == ENTER and not (makes and kind == DIRECTORY):  # O_TMPFILE names the directory itself
            path, kind = posixpath.dirname(path), DIRECTORY
        rights = FS["write_file"] if done == CHANGE else place.rights
        if place.kind == ABSENT and not makes and not self._hidden(place.real):
            return
        if not self._granted(path, rights):
            self._count(self._refused, (place.real, done), place.kind, when, program)
            return
        if makes and place.kind == ABSENT and len(self._made) < MOST_PLACES:
            self._made.add(place.real)
        if done in (ENTER, EXECUTE):
            # What the run made is granted by the directory that was there before.
            while path in self._made and path != "/":
                path, kind = posixpath.dirname(path), DIRECTORY
        if done == MAKE or path not in self._made:
            self._count(self._places, (path, done), kind, when, program)

    def _count(self, into: dict[Key, _Count], key: Key, kind: str, when: float, program: str) -> None:
        """Count one more; the command must not fill our memory with names."""
        if key in into or len(into) < MOST_PLACES:
            into.setdefault(key, _Count(kind, when)).add(program)
        else:
            self.others += 1

    @property
    def made(self) -> frozenset[str]:
        """The canonical paths that the run made, whether they are there still or not."""
        return frozenset(self._made)

    @property
    def places(self) -> tuple[Use, ...]:
        """What was done to which place, in the order of the first time."""
        return _rows(self._places)

    @property
    def refused(self) -> tuple[Use, ...]:
        """What was tried and not granted in this run."""
        return _rows(self._refused)

    @property
    def peers(self) -> tuple[Peer, ...]:
        """The addresses, in the order of the first time."""
        return tuple(Peer(address, count.evidence(), name) for (address, name), count in self._addresses.items())

    @property
    def missed(self) -> frozenset[str]:
        """The canonical paths that somebody asked for and did not find, the first of them."""
        return frozenset(itertools.islice(self._missed, MOST_MISSED))


def _rows(counts: dict[tuple[str, str], _Count]) -> tuple[Use, ...]:
    return tuple(Use(path, done, count.kind, count.evidence()) for (path, done), count in counts.items())


def _done(place: Place, event: Event) -> str:
    """What an event does to a place; "" if no rule is needed for it."""
    if place.act in ("look", "connect"):
        return ""
    if place.act == "execute":
        return EXECUTE
    if place.act == "create":
        if place.kind != ABSENT and event.syscall.startswith(_ONLY_MAKE):
            return ""  # EEXIST: mkdir -p asks like this
        return MAKE if _makes_by_opening(place, event) else ENTER
    if place.act == "remove":
        return ENTER if place.kind != ABSENT else ""
    if place.act == "read":
        return LIST if place.kind == DIRECTORY else READ
    return WRITE if place.act == "write" else CHANGE


def _makes_by_opening(place: Place, event: Event) -> bool:
    """Whether it would have done to find an empty file there already: open(2) with O_CREAT and without O_EXCL."""
    if event.syscall == "creat":
        return True
    index = _FLAGS.get(event.syscall)
    return index is not None and not event.arguments[index] & (os.O_EXCL | os.O_TMPFILE & ~os.O_DIRECTORY)
