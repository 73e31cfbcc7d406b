"""The sockets of the DNS responder in the command's namespace; the answers come from `dns`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandrun.egress import flow
from sandrun.egress import loop as loops

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    Answer = Callable[[bytes], bytes | None]

MOST_CONNECTIONS = 32
IDLE_SECONDS = 10.0
_LARGEST = 65535
_BURST = 64


class Responder:
    """Answers by UDP and by TCP (RFC 1035, 4.2). `full` is called for a connection that there is no room for."""

    def __init__(self, loop: loops.Loop, answer: Answer, full: Callable[[], None]) -> None:
        self._loop, self._answer, self._full = loop, answer, full
        self._open: dict[socket.socket, loops.Timer] = {}

    def serve_datagrams(self, sock: socket.socket) -> None:
        self._loop.watch(sock.fileno(), loops.READ, lambda _: self._datagrams(sock))

    def accepted(self, sock: socket.socket) -> None:
        """Serve a connection."""
        if len(self._open) >= MOST_CONNECTIONS:
            self._full()
            flow.reset(sock)
            return
        received = bytearray()
        self._open[sock] = self._loop.later(IDLE_SECONDS, lambda: self._close(sock))
        self._loop.watch(sock.fileno(), loops.READ, lambda _: self._stream(sock, received))

    def close(self) -> None:
        """Close all connections."""
        for sock in list(self._open):
            self._close(sock)

    def _datagrams(self, sock: socket.socket) -> None:
        for _ in range(_BURST):
            try:
                query, client = sock.recvfrom(_LARGEST)
                answer = self._answer(query)
                if answer:
                    sock.sendto(answer, client)
            except BlockingIOError:
                return
            except OSError:
                continue  # who asked is gone

    def _stream(self, sock: socket.socket, received: bytearray) -> None:
        try:
            data = sock.recv(_LARGEST)
            received += data
            self._answer_all(sock, received)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._close(sock)
        elif sock in self._open:
            self._open[sock].cancel()
            self._open[sock] = self._loop.later(IDLE_SECONDS, lambda: self._close(sock))

    def _answer_all(self, sock: socket.socket, received: bytearray) -> None:
        """Answer each query that is complete. Raises OSError for a peer that does not take its answers."""
        while len(received) >= 2:
            end = 2 + int.from_bytes(received[:2], "big")
            if len(received) < end:
                return
            answer = self._answer(bytes(received[2:end]))
            del received[:end]
            if answer:
                whole = len(answer).to_bytes(2, "big") + answer
                try:
                    sent = sock.send(whole)
                except BlockingIOError:
                    sent = 0
                if sent < len(whole):
                    raise ConnectionResetError("answers pile up")

    def _close(self, sock: socket.socket) -> None:
        timer = self._open.pop(sock, None)
        if timer:
            timer.cancel()
            self._loop.forget(sock.fileno())
            sock.close()
