"""Host names, by the DNS answers that a command reads: which name an address was given for.

A call shows its caller before it is made, so what a receiving call brought is looked at when the same thread makes its
next call: by then the answer lies where the call was told to put it. Only what is read from a socket that was used
with port 53 is looked at. What the command does with that memory meanwhile is its own affair: it could as well ask for
a name of its own choice.
"""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sandrun.observe.events import Event
    from sandrun.observe.tracee import Tracee

PORT = 53
HOSTS = "/etc/hosts"
MOST_ANSWER = 4096
MOST_NAMES = 10_000
MOST_SOCKETS = 1000
_HEADER, _RECORD = struct.Struct("!HHHHHH"), struct.Struct("!HHIH")
_QR, _OPCODE_AND_CODE = 0x8000, 0x780F
_IN = 1
_TYPES = {1: socket.AF_INET, 28: socket.AF_INET6}
_LENGTHS = {1: 4, 28: 16}
_MOST_RECORDS, _MOST_LABEL, _MOST_NAME = 100, 63, 253
_POINTER = 0xC0
_RECEIVING = frozenset(("recvfrom", "read", "recvmsg"))
_ANSWERED_IN_PLACE = frozenset(("recvfrom", "read"))


class Answer(NamedTuple):
    """The name that was asked for, in lower case, and the addresses that were given."""

    name: str
    addresses: tuple[str, ...]


def read(wire: bytes) -> Answer | None:
    """The answer in a message of RFC 1035, which may have anything behind it; None if it is none. Never raises."""
    try:
        _, flags, questions, answers, _, _ = _HEADER.unpack_from(wire)
        if not flags & _QR or flags & _OPCODE_AND_CODE or questions != 1 or not 0 < answers <= _MOST_RECORDS:
            return None
        name, at = _name(wire, _HEADER.size)
        kind, cls = struct.unpack_from("!HH", wire, at)
        if kind not in _TYPES or cls != _IN or not name:
            return None
        return Answer(name, tuple(_addresses(wire, at + 4, answers, kind)))
    except (struct.error, IndexError, ValueError):
        return None


def _addresses(wire: bytes, at: int, count: int, wanted: int) -> Iterable[str]:
    for _ in range(count):
        at = _behind_name(wire, at)
        kind, cls, _, length = _RECORD.unpack_from(wire, at)
        data = wire[at + _RECORD.size : at + _RECORD.size + length]
        if kind == wanted and cls == _IN and len(data) == length == _LENGTHS[kind]:
            yield socket.inet_ntop(_TYPES[kind], data)
        at += _RECORD.size + length


def _name(wire: bytes, at: int) -> tuple[str, int]:
    """The name of a question, which is not compressed, and where it ends. Raises IndexError, ValueError."""
    labels = []
    while length := wire[at]:
        if length > _MOST_LABEL:
            raise ValueError(length)
        labels.append(wire[at + 1 : at + 1 + length].decode("ascii"))
        at += 1 + length
    name = ".".join(labels).lower()
    if len(name) > _MOST_NAME or not all(char.isalnum() or char in "-_." for char in name):
        raise ValueError(name)
    return name, at + 1


def _behind_name(wire: bytes, at: int) -> int:
    """Where a name ends that may be compressed."""
    while length := wire[at]:
        if length >= _POINTER:
            return at + 2
        at += 1 + length
    return at + 1


class Names:
    """What was answered so far: `tap` and `see` are an observer's, for the calls and their events.

    `hosts()` is the text of /etc/hosts, "" if there is none.
    """

    def __init__(self, hosts: Callable[[], str] = str) -> None:
        self._hosts, self._has_hosts = hosts, False
        self._names: dict[str, str] = {}
        self._sockets: set[tuple[int, int]] = set()
        self._fds: set[int] = set()
        self._waiting: dict[int, tuple[int, int]] = {}
        """Where the answer to a thread's last call was to be put, and how long it may be."""

    def of(self, address: str) -> str:
        """The name that an address was last given for, "" if for none."""
        return self._names.get(address, "")

    def see(self, event: Event) -> None:
        """Remember the sockets that are used for DNS, and what stands in hosts(5) once that was opened."""
        address = event.address
        if not self._has_hosts and any(HOSTS in (place.path, place.real) for place in event.places):
            self._has_hosts = True
            for line in self._hosts().splitlines():
                known, *names = line.partition("#")[0].split() or [""]
                if names:
                    self._names.setdefault(known, names[0].lower())  # what was answered goes before
        if address and address.port == PORT and address.act != "bind" and len(self._sockets) < MOST_SOCKETS:
            fd = event.arguments[0]
            self._sockets.add((event.pid, fd))
            self._fds.add(fd)

    def tap(self, tid: int, name: str, arguments: tuple[int, ...], look: Callable[[], Tracee]) -> None:
        """Read what the thread's last call has brought, and remember where this one will."""
        where = self._waiting.pop(tid, None)
        try:
            if where:
                self._read(look().read(*where))
            if name in _RECEIVING and arguments[0] in self._fds and (look().pid, arguments[0]) in self._sockets:
                if len(self._waiting) >= MOST_SOCKETS:
                    self._waiting.clear()  # threads that ended while they waited
                self._waiting[tid] = _buffer(look(), name, arguments)
            elif name == "close" and arguments[0] in self._fds:
                self._sockets.discard((look().pid, arguments[0]))
        except (OSError, struct.error):
            return  # it is gone, or the kernel finds no buffer there either

    def _read(self, data: bytes) -> None:
        answer = read(data) or read(data[2:])  # by TCP its length stands before it
        for address in answer.addresses if answer else ():
            if len(self._names) < MOST_NAMES:
                self._names[address] = answer.name if answer else ""


def _buffer(tracee: Tracee, name: str, arguments: tuple[int, ...]) -> tuple[int, int]:
    """Address and length of where data is to be put. Raises OSError, struct.error."""
    if name in _ANSWERED_IN_PLACE:
        return arguments[1], min(arguments[2], MOST_ANSWER)
    vector, count = struct.unpack("=16xQQ", tracee.read(arguments[1], 32))  # struct msghdr (recvmsg(2))
    if not count:
        return 0, 0
    place, length = struct.unpack("=QQ", tracee.read(vector, 16))
    return place, min(length, MOST_ANSWER)
