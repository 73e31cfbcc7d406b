"""Looking names up outside, by the host's own configuration: getaddrinfo(3) in threads of the relay.

The relay never waits: it polls `fileno()` and takes what has come by `answers()`. Threads are started by the first
question that needs one, so ask nothing before the relay has confined itself: Landlock and seccomp hold for the calling
thread and those it starts afterwards.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import threading
import time
from queue import SimpleQueue
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from sandrun.egress.rules import Found

if TYPE_CHECKING:
    from collections.abc import Callable

Token = TypeVar("Token")

MAX_ADDRESSES = 16
"""Of one name; the others are not tried."""
MAX_KEPT = 1024
"""Answers that are remembered at once."""
MAX_TOKENS = 4096
"""Questions that wait for an answer at once: those of connections that ended meanwhile are still among them."""

NLMSGHDR, RTMSG, RTATTR = struct.Struct("=IHHII"), struct.Struct("=8BI"), struct.Struct("=HH")
NLMSG_ERROR, RTM_NEWROUTE, RTM_GETROUTE = 2, 24, 26
NLM_F_REQUEST, RTA_DST = 1, 1
RTN_UNICAST, RTN_BROADCAST, RTN_MULTICAST = 1, 3, 5


class Answer(NamedTuple):
    """What a lookup came to."""

    found: tuple[Found, ...]
    error: str
    """Why there is no address; "" if there is one."""
    limit: bool = False
    """It was not asked, since too many lookups wait already."""


def system(name: str) -> tuple[Found, ...]:
    """The addresses of a name by getaddrinfo(3), in its order. Raises OSError (socket.gaierror is one)."""
    # As bytes, or Python would import its codec for international names, which is out of reach by now.
    rows = socket.getaddrinfo(name.encode("ascii"), None, type=socket.SOCK_STREAM)
    texts = dict.fromkeys(str(row[4][0]) for row in rows)
    return tuple(Found(text, is_own(text)) for text in list(texts)[:MAX_ADDRESSES])


def is_own(address: str) -> bool:
    """Whether it is an address of this machine: the kernel routes it to itself. If that cannot be told, it is.

    Raises nothing. The source address on the way there would not tell the secondary addresses of an interface.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        packed = socket.inet_pton(family, address)
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC) as netlink:
            netlink.sendto(_route_request(family, packed), (0, 0))
            reply = netlink.recv(4096)
    except OSError:
        return True
    _, kind, _, _, _ = NLMSGHDR.unpack_from(reply)
    if kind == NLMSG_ERROR:
        (number,) = struct.unpack_from("=i", reply, NLMSGHDR.size)
        return -number not in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EOPNOTSUPP)
    route = RTMSG.unpack_from(reply, NLMSGHDR.size)
    return kind != RTM_NEWROUTE or route[7] not in (RTN_UNICAST, RTN_BROADCAST, RTN_MULTICAST)


def _route_request(family: int, address: bytes) -> bytes:
    """RTM_GETROUTE of rtnetlink(7): by which route a packet to this address would go."""
    body = RTMSG.pack(family, len(address) * 8, 0, 0, 0, 0, 0, 0, 0)
    body += RTATTR.pack(RTATTR.size + len(address), RTA_DST) + address
    return NLMSGHDR.pack(NLMSGHDR.size + len(body), RTM_GETROUTE, NLM_F_REQUEST, 0, 0) + body


class Resolver(Generic[Token]):
    """A bounded number of lookups at once, with a short memory. All methods are for the relay's one thread."""

    def __init__(
        self,
        look_up: Callable[[str], tuple[Found, ...]] = system,
        *,
        threads: int = 8,
        waiting: int = 64,
        keep_seconds: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`look_up` runs in the threads; `waiting`: names that may wait for one, besides those being looked up."""
        self._look_up = look_up
        self._max_threads = threads
        self._max_pending = threads + waiting
        self._keep = keep_seconds
        self._clock = clock
        self._threads = 0
        self._pending: dict[str, list[Token]] = {}
        self._tokens = 0
        self._kept: dict[str, tuple[float, Answer]] = {}
        self._jobs: SimpleQueue[str] = SimpleQueue()
        self._done: SimpleQueue[tuple[str, Answer]] = SimpleQueue()
        self._lock = threading.Lock()
        self._event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def fileno(self) -> int:
        """Readable when `answers` has something; -1 once closed."""
        return self._event

    def ask(self, name: str, token: Token) -> Answer | None:
        """Look a name up. An answer at once if it is known or cannot be asked; else None, and `answers` brings the token."""
        until, known = self._kept.get(name, (0.0, None))
        if known is not None and self._clock() < until:
            return known
        is_new = name not in self._pending
        if self._event < 0 or self._tokens >= MAX_TOKENS or (is_new and len(self._pending) >= self._max_pending):
            return Answer((), "too many lookups at once", limit=True)
        if not is_new:
            self._pending[name].append(token)
            self._tokens += 1
            return None
        if len(self._pending) >= self._threads and self._threads < self._max_threads:
            self._start()
        if not self._threads:
            return Answer((), "no thread to look it up", limit=True)
        self._pending[name] = [token]
        self._tokens += 1
        self._jobs.put(name)
        return None

    def answers(self) -> list[tuple[Token, Answer]]:
        """What has come since the last call. Never blocks."""
        if self._event < 0:
            return []
        try:
            os.eventfd_read(self._event)
        except BlockingIOError:
            return []
        came: list[tuple[Token, Answer]] = []
        while not self._done.empty():
            name, answer = self._done.get()
            self._remember(name, answer)
            tokens = self._pending.pop(name, [])
            self._tokens -= len(tokens)
            came.extend((token, answer) for token in tokens)
        return came

    def close(self) -> None:
        """Forget all that waits and close the descriptor. Threads in the middle of a lookup end when it does."""
        with self._lock:
            event, self._event = self._event, -1
        if event >= 0:
            os.close(event)
        self._pending.clear()
        for _ in range(self._threads):
            self._jobs.put("")

    def _start(self) -> None:
        try:
            # A daemon: the end of the relay does not wait for a name server that never answers.
            threading.Thread(target=self._work, daemon=True).start()
        except RuntimeError:
            return  # no more threads to be had: the others do it, or nobody
        self._threads += 1

    def _work(self) -> None:
        """Look names up until there is an empty one, or the resolver is closed."""
        while name := self._jobs.get():
            answer = self._answer(name)
            # The number of a closed descriptor may belong to a connection by now.
            with self._lock:
                if self._event < 0:
                    return
                self._done.put((name, answer))
                os.eventfd_write(self._event, 1)

    def _answer(self, name: str) -> Answer:
        try:
            found = self._look_up(name)
        except OSError as error:
            return Answer((), error.strerror or str(error))
        except ValueError as error:  # UnicodeError is one
            return Answer((), str(error))
        return Answer(found, "" if found else "no address")

    def _remember(self, name: str, answer: Answer) -> None:
        self._kept.pop(name, None)  # the oldest stand first
        while len(self._kept) >= MAX_KEPT:
            del self._kept[next(iter(self._kept))]
        self._kept[name] = (self._clock() + self._keep, answer)
