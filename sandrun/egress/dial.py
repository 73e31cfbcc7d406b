"""Connecting to the first of some addresses that answers."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING

from sandrun.egress import loop as loops

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

HEAD_START = 0.25
"""Seconds that an address has before the next one is tried beside it (RFC 8305)."""
LONGEST = 30.0
"""Seconds after which nothing is expected any more."""


def new_socket(family: int) -> socket.socket:
    """A TCP socket in the namespace of this process. Raises OSError."""
    return socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)


def family_of(address: str) -> int:
    """AF_INET or AF_INET6."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


class Dial:
    """Tries the addresses in their order, and calls `done(socket, errno)` once, maybe at once.

    The socket is None if none of them answered; then `errno` is why the last one did not.
    """

    def __init__(
        self,
        loop: loops.Loop,
        addresses: Sequence[str],
        port: int,
        done: Callable[[socket.socket | None, int], None],
        make: Callable[[int], socket.socket] = new_socket,
    ) -> None:
        self._loop, self._port, self._make = loop, port, make
        self._left = list(addresses)
        self._trying: dict[int, socket.socket] = {}
        self._done: Callable[[socket.socket | None, int], None] | None = done
        self._error = errno.EHOSTUNREACH
        self._next_try: loops.Timer | None = None
        self._limit = loop.later(LONGEST, self._too_late)
        self._try()

    def cancel(self) -> None:
        """Nobody wants the connection any more: `done` is not called."""
        self._done = None
        self._clear()

    def _try(self) -> None:
        while self._left and self._done:
            address = self._left.pop(0)
            sock = None
            try:
                sock = self._make(family_of(address))
                number = sock.connect_ex((address, self._port))
            except OSError as error:
                number = error.errno or errno.EIO
            if sock and number in (0, errno.EINPROGRESS):
                self._trying[sock.fileno()] = sock
                if number == 0:
                    self._finish(sock)
                    return
                self._loop.watch(sock.fileno(), loops.WRITE, self._on_ready(sock))
                if self._left:
                    self._next_try = self._loop.later(HEAD_START, self._try)
                return
            self._error = number
            if sock:
                sock.close()
        if not self._trying:
            self._finish(None)

    def _on_ready(self, sock: socket.socket) -> Callable[[int], None]:
        return lambda _: self._ready(sock)

    def _ready(self, sock: socket.socket) -> None:
        number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if not number:
            self._finish(sock)
            return
        self._error = number
        self._loop.forget(sock.fileno())
        del self._trying[sock.fileno()]
        sock.close()
        if self._next_try:
            self._next_try.cancel()
        self._try()

    def _too_late(self) -> None:
        self._error = errno.ETIMEDOUT
        self._finish(None)

    def _finish(self, sock: socket.socket | None) -> None:
        done, self._done = self._done, None
        if sock:
            self._loop.forget(sock.fileno())
            del self._trying[sock.fileno()]
        self._clear()
        if done:
            done(sock, 0 if sock else self._error)
        elif sock:
            sock.close()

    def _clear(self) -> None:
        for timer in (self._limit, self._next_try):
            if timer:
                timer.cancel()
        for fd, sock in self._trying.items():
            self._loop.forget(fd)
            sock.close()
        self._trying.clear()
        self._left.clear()
