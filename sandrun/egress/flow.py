"""One connection through the relay: two sockets, and the bytes both ways.

What happens on one side happens on the other: an end of data becomes an end of data, a reset a reset, and who reads
slowly is sent to slowly, since nothing is read that cannot be passed on. A connection may be idle for ever.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import struct
from typing import TYPE_CHECKING

from sandrun.egress import loop as loops

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandrun.egress.dial import Dial

CHUNK = 64 * 1024
_PIPE_SIZE = 512 * 1024
_SPLICE_MOST = 1 << 20
_BURST = 4
"""How often in a row one connection may fill and drain before the others have their turn."""
_RESET = struct.pack("ii", 1, 0)
"""struct linger: close(2) sends a reset (socket(7))."""
_ORPHAN_IDLE, _ORPHAN_INTERVAL, _ORPHAN_PROBES = 60, 15, 4


def reset(sock: socket.socket) -> None:
    """Close, and let the other side see ECONNRESET."""
    with contextlib.suppress(OSError):  # it was reset already
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    sock.close()


def unpaced(listener: socket.socket) -> None:
    """Accept connections that send as fast as they can: a loopback interface has no queue to be careful of.

    Where the host's algorithm paces itself, as bbr does, that takes a tenth of the throughput (tcp(7)).
    """
    with contextlib.suppress(OSError):  # of a kernel without it, as fast as the host's does
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"reno")


class Pipes:
    """The pipes for splice(2), which moves bulk data without copying it, and the buffer for all that is not bulk."""

    def __init__(self, most: int) -> None:
        self.buffer = memoryview(bytearray(CHUNK))
        self._left = most
        self._spare: list[tuple[int, int]] = []

    def take(self) -> tuple[int, int] | None:
        """An empty pipe, or None if there are enough: then bytes are copied."""
        if self._spare:
            return self._spare.pop()
        if not self._left:
            return None
        try:
            pipe = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None
        with contextlib.suppress(OSError):  # the user has many pipes already (pipe(7)): a small one will do
            fcntl.fcntl(pipe[1], fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
        self._left -= 1
        return pipe

    def give(self, pipe: tuple[int, int], *, is_empty: bool) -> None:
        """Back again. One that still holds bytes of its connection must never serve another."""
        if is_empty:
            self._spare.append(pipe)
        else:
            self._left += 1
            _close(pipe)

    def close(self) -> None:
        """Give the descriptors back."""
        for pipe in self._spare:
            _close(pipe)
        self._spare.clear()


def _close(pipe: tuple[int, int]) -> None:
    for fd in pipe:
        os.close(fd)


class _Way:
    """The bytes of one direction. Nothing is read while anything is `held`."""

    __slots__ = ("count", "ended", "held", "pipe", "pipes", "rest", "shut", "sink", "source")

    def __init__(self, source: socket.socket, sink: socket.socket, pipes: Pipes) -> None:
        self.source, self.sink, self.pipes = source, sink, pipes
        self.pipe: tuple[int, int] | None = None
        self.rest = b""
        self.held = self.count = 0
        self.ended = self.shut = False

    def wants_data(self) -> bool:
        return not self.ended and not self.held

    def move(self) -> None:
        """Pass on what there is. Raises OSError if either side is broken."""
        moved = self.count
        for _ in range(_BURST):
            if (not self.held and not self._fill()) or not self._drain():
                break
        if self.pipe and not self.held and self.count - moved < CHUNK:
            self.pipes.give(self.pipe, is_empty=True)
            self.pipe = None
        if self.ended and not self.held and not self.shut:
            self.shut = True
            _shut_down(self.sink)

    def release(self) -> None:
        if self.pipe:
            self.pipes.give(self.pipe, is_empty=not self.held)
            self.pipe = None
        self.rest = b""

    def _fill(self) -> bool:
        """Read. Whether there is something to pass on."""
        if self.ended:
            return False
        try:
            if not self.pipe:
                return self._copy()
            self.held = os.splice(self.source.fileno(), self.pipe[1], _SPLICE_MOST, flags=os.SPLICE_F_NONBLOCK)
            if self.held:
                return True
            # The end of data, or urgent data, which splice(2) stops before with the same answer: recv(2) tells.
            self.pipes.give(self.pipe, is_empty=True)
            self.pipe = None
            return self._copy()
        except BlockingIOError:
            return False

    def _copy(self) -> bool:
        """Read and write at once, by way of the common buffer. Whether to go on."""
        buffer = self.pipes.buffer
        self.held = size = self.source.recv_into(buffer)
        if not size:
            self.ended = True
            return False
        try:
            sent = self.sink.send(buffer[:size])
        except BlockingIOError:
            sent = 0
        self.count += sent
        self.held -= sent
        if self.held:
            self.rest = bytes(buffer[sent:size])
        elif size == CHUNK:
            self.pipe = self.pipes.take()
        return size == CHUNK and not self.held

    def _drain(self) -> bool:
        """Write. Whether all is gone."""
        try:
            while self.held:
                if self.pipe:
                    flags = os.SPLICE_F_NONBLOCK
                    sent = os.splice(self.pipe[0], self.sink.fileno(), self.held, flags=flags)
                else:
                    sent = self.sink.send(self.rest)
                    self.rest = self.rest[sent:]
                self.count += sent
                self.held -= sent
        except BlockingIOError:
            return False
        return True


def _shut_down(sock: socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_WR)
    except OSError as error:
        if error.errno != errno.ENOTCONN:
            raise


class Flow:
    """A connection from `near`, which was accepted, to `far`, which comes later.

    Until then what `near` sends waits in the kernel. `on_end(flow)` is called once, when both sides are closed; `sent`
    are the bytes from near to far, `received` those from far to near.
    """

    __slots__ = ("_dial", "_down", "_far", "_is_probed", "_loop", "_near", "_on_end", "_pipes", "_up", "is_open")

    def __init__(self, loop: loops.Loop, pipes: Pipes, near: socket.socket, on_end: Callable[[Flow], None]) -> None:
        self._loop, self._pipes, self._near, self._on_end = loop, pipes, near, on_end
        self._far: socket.socket | None = None
        self._dial: Dial | None = None
        self._up: _Way | None = None
        self._down: _Way | None = None
        self._is_probed = False
        self.is_open = True
        loop.watch(near.fileno(), 0, self._waiting)

    @property
    def sent(self) -> int:
        return self._up.count if self._up else 0

    @property
    def received(self) -> int:
        return self._down.count if self._down else 0

    @property
    def is_sending(self) -> bool:
        """Whether there may be bytes from `near` that `far` has not got."""
        return self.is_open and not (self._up and self._up.shut)

    @property
    def is_receiving(self) -> bool:
        """Whether there may be bytes from `far` that `near` has not got."""
        return self.is_open and self._down is not None and not self._down.shut

    def attempt(self, dial: Dial) -> None:
        """This is how the other side comes to be there; it ends with the flow."""
        if self.is_open:
            self._dial = dial
        else:
            dial.cancel()

    def connected(self, far: socket.socket) -> None:
        """The other side is there; from now on bytes flow."""
        if not self.is_open:
            reset(far)
            return
        self._far = far
        self._up, self._down = _Way(self._near, far, self._pipes), _Way(far, self._near, self._pipes)
        for sock in (self._near, far):
            # What is passed on has been written once already, with the delay that its writer wanted.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # Urgent data is passed on in its place, as data (tcp(7)): left out of band, it would be lost here.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
        self._moved(self._up)

    def abort(self) -> None:
        """Reset both sides, but for one that has got all there is and its end: a reset would take that back."""
        if not self.is_open:
            return
        self._forget()
        for sock, way in ((self._near, self._down), (self._far, self._up)):
            if sock and way and way.shut:
                sock.close()
            elif sock:
                reset(sock)
        self._finish()

    def _waiting(self, _: int) -> None:
        """Broken before the other side was there; an end of data alone is not told here."""
        self.abort()

    def _near_ready(self, mask: int) -> None:
        self._ready(self._near, mask, self._up, self._down)

    def _far_ready(self, mask: int) -> None:
        self._ready(self._far, mask, self._down, self._up)

    def _ready(self, sock: socket.socket | None, mask: int, reading: _Way | None, writing: _Way | None) -> None:
        if not (sock and reading and writing):
            return
        if mask & loops.BROKEN:
            self._broken(reading)
            return
        if mask & loops.HUNG_UP and not reading.wants_data() and not writing.held:
            # Both directions of this side are over, and the kernel would say so for ever: `_watch` asks again.
            self._loop.forget(sock.fileno())
            return
        ways = [writing] if mask & loops.WRITE else []
        if mask & (loops.READ | loops.HUNG_UP):
            ways.append(reading)
        self._moved(*ways)

    def _moved(self, *ways: _Way) -> None:
        for way in ways:
            try:
                way.move()
            except OSError:
                # Bytes are held: nobody takes them any more, but what that side sent before is still to be read.
                self._broken((self._down if way is self._up else self._up) if way.held else None)
                return
        self._watch()

    def _broken(self, last: _Way | None) -> None:
        """What came in before a reset is still passed on, as far as it goes in one piece."""
        try:
            if last:
                last.move()
        except OSError:
            pass
        self.abort()

    def _watch(self) -> None:
        near, far, up, down = self._near, self._far, self._up, self._down
        if not (far and up and down):
            return
        if up.shut and down.shut:
            self._forget()
            near.close()
            far.close()
            self._finish()
            return
        if up.ended and not down.shut and not self._is_probed:
            self._is_probed = True
            _probe(near)
        for sock, reading, writing, handler in ((near, up, down, self._near_ready), (far, down, up, self._far_ready)):
            events = (loops.READ if reading.wants_data() else 0) | (loops.WRITE if writing.held else 0)
            if events or not (reading.ended and writing.shut):
                self._loop.watch(sock.fileno(), events, handler)
            else:
                self._loop.forget(sock.fileno())

    def _forget(self) -> None:
        for sock in (self._near, self._far):
            if sock:
                self._loop.forget(sock.fileno())

    def _finish(self) -> None:
        self.is_open = False
        if self._dial:
            self._dial.cancel()
        for way in (self._up, self._down):
            if way:
                way.release()
        self._on_end(self)


def _probe(sock: socket.socket) -> None:
    """Find out whether who has ended its data still listens (tcp(7)).

    A program that closed its socket looks like one that only ended its sending, until something is sent to it.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _ORPHAN_IDLE)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _ORPHAN_INTERVAL)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _ORPHAN_PROBES)
