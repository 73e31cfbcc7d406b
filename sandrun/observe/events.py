"""What was observed, as data: one Event a system call, with the files and addresses that it names.

An event is what the caller was about to do. Whether it succeeded is not known: the observer lets the call go on, and
nobody is told how it ends. What the plan's rules say to it is `why.judge`'s to answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    Key = tuple[str, str, tuple["Place", ...], "Address | None", int, tuple[int, ...]]

FILE, DIRECTORY, ABSENT, OTHER, UNKNOWN = "file", "directory", "absent", "other", "unknown"
"""What a Place is, as found right before the call; OTHER are devices, sockets and pipes."""


class Place(NamedTuple):
    """One file that a call names."""

    path: str
    """Absolute, as the caller sees it: joined to its descriptor or working directory; symlinks are not followed."""
    real: str
    """The same with symlinks followed as this call does; of what is ABSENT, the real directory and the name."""
    kind: str
    act: str
    """One of `why.judge.ACTS`; or "look" for what only asks about the file (stat(2), readlink(2), chdir(2)), "change"
    for its attributes (chmod(2), chown(2), utimensat(2), setxattr(2)), "connect" for a unix socket."""
    rights: int
    """The Landlock access rights that it takes; of making and removing an entry they are rights on its directory."""


class Address(NamedTuple):
    """The address of a socket that a call names."""

    act: str
    """"connect", "bind" or "send"."""
    protocol: str
    """"tcp", "udp" or "unix"; "" for others and if the socket could not be looked at."""
    host: str
    """Address as text; of unix sockets the path, which is in `Event.places` too, or `abstract:NAME`."""
    port: int


class Event(NamedTuple):
    """One system call. Text that comes from the command is hostile: print it with `report.printable`."""

    when: float
    """Seconds since the observer began."""
    tid: int
    pid: int
    program: str
    """What the process executes (/proc/PID/exe), as it sees it; "" if that cannot be known."""
    syscall: str
    arguments: tuple[int, ...]
    """The six registers."""
    places: tuple[Place, ...] = ()
    address: Address | None = None
    refused: int = 0
    """The errno with which the plan's filters refuse the call; 0: they let it through, as far as they go."""

    @property
    def key(self) -> Key:
        """Events that say the same have the same key: which program did what, to what; for a socket also of which kind."""
        kind = self.arguments[:2] if self.syscall == "socket" else ()
        return self.program, self.syscall, self.places, self.address, self.refused, kind


class Seen(NamedTuple):
    """Events with the same key. `first` and `last` may be of different processes."""

    first: Event
    last: Event
    times: int


class Variant(NamedTuple):
    """Calls of one syscall that no filter in question would tell apart; arguments that do not matter are 0."""

    syscall: str
    number: int
    arguments: tuple[int, ...]
    times: int


class Record(NamedTuple):
    """What an observer leaves."""

    calls: dict[str, int]
    """How often each syscall was observed, by name; a number of none that is known is `#NUMBER`."""
    seen: tuple[Seen, ...]
    """In the order of the first; of the calls that were asked for, and those that the filters refuse."""
    first: dict[str, Event]
    """The first call of each syscall."""
    variants: tuple[Variant, ...] = ()
    """Where it was asked for: the calls, told apart by the arguments that matter."""
    others: int = 0
    """Events that are missing from `seen`, since there were too many different ones."""
    gap: str = ""
    """Why something may be missing altogether, for people; "" if nothing is."""
