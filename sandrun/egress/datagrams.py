"""UDP through the relay: what a program of the command sends to one place, and what comes back from there.

There are no connections in UDP, so a flow is what comes from one socket inside for one target, and it ends when nothing
has passed for a while. Only the place that a flow was opened to can answer: its socket outside is connected.
"""

from __future__ import annotations

import collections
import functools
import ipaddress
import socket
import struct
from typing import TYPE_CHECKING

from sandrun.egress import dial
from sandrun.egress import loop as loops

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandrun.egress.record import Counters

    _Key = tuple[int, tuple[str | int, ...], bytes]
    """The socket inside, who sent to it, and to which address."""
    Opened = Callable[[tuple[str, ...], Counters], None]
    """Called with the addresses that may be sent to; never, if there are none."""
    Route = Callable[[str, int, Opened], bool]
    """`route(target, port, opened)`: whether datagrams for this address and port may pass; `opened` comes later."""

IDLE_SECONDS = 60.0
MOST_FLOWS = 256
_SWEEP_SECONDS = 5.0
_MOST_WAITING, _MOST_WAITING_BYTES = 16, 16 << 10
"""Datagrams kept for one flow while a name is looked up, and their bytes if there is more than one."""
_LARGEST = 65536
_BURST = 64
_IP_PKTINFO = 8
_IPV6_FREEBIND = 78
_PKTINFO4 = struct.Struct("=I4s4s")
"""struct in_pktinfo (ip(7)): interface, local address, destination."""
_PKTINFO6 = struct.Struct("=16sI")


class _Flow:
    __slots__ = ("counters", "outside", "used", "waiting")

    def __init__(self, now: float) -> None:
        self.outside: socket.socket | None = None
        self.counters: Counters | None = None
        self.waiting: collections.deque[bytes] = collections.deque(maxlen=_MOST_WAITING)
        self.used = now

    def keep(self, data: bytes) -> None:
        """Until there is a socket to send it by; datagrams may be lost."""
        if not self.waiting or sum(map(len, self.waiting)) + len(data) <= _MOST_WAITING_BYTES:
            self.waiting.append(data)


class Datagrams:
    """All UDP of one relay. `full` is called for a datagram for which there is no room."""

    def __init__(self, loop: loops.Loop, route: Route, full: Callable[[], None]) -> None:
        self._loop, self._route, self._full = loop, route, full
        self._flows: dict[_Key, _Flow] = {}
        self._sweeping: loops.Timer | None = None

    def serve(self, inside: socket.socket) -> None:
        """Take what is sent to a socket in the namespace, which is bound to all addresses. Raises OSError."""
        if inside.family == socket.AF_INET6:
            inside.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
            # The answer comes from the address that was meant, and IPv6 has no such address on the interface.
            inside.setsockopt(socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)
        else:
            inside.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        port = inside.getsockname()[1]
        self._loop.watch(inside.fileno(), loops.READ, lambda _: self._from_inside(inside, port))

    def close(self) -> None:
        """End all flows."""
        for flow in self._flows.values():
            self._close(flow)
        self._flows.clear()
        if self._sweeping:
            self._sweeping.cancel()

    def _from_inside(self, inside: socket.socket, port: int) -> None:
        for _ in range(_BURST):
            try:
                data, ancillary, _, client = inside.recvmsg(_LARGEST, 64)
            except OSError:
                return
            target = _target(ancillary)
            if target:
                self._send(inside, port, client, target, data)

    def _send(
        self, inside: socket.socket, port: int, client: tuple[str | int, ...], target: bytes, data: bytes
    ) -> None:
        key = inside.fileno(), client, target
        flow = self._flows.get(key)
        if flow is None:
            if len(self._flows) >= MOST_FLOWS:
                self._full()
                return
            flow = self._flows[key] = _Flow(self._loop.clock())
            flow.keep(data)
            self._sweeping = self._sweeping or self._loop.later(_SWEEP_SECONDS, self._sweep)
            opened = functools.partial(self._opened, inside, key, port)
            if not self._route(_text(target), port, opened):
                del self._flows[key]
            return
        if flow.outside is None:
            flow.keep(data)
        else:
            self._pass_on(flow, data)

    def _opened(
        self,
        inside: socket.socket,
        key: _Key,
        port: int,
        found: tuple[str, ...],
        counters: Counters,
    ) -> None:
        flow = self._flows.get(key)
        if flow is None or flow.outside:
            return
        counters.connections += 1
        outside = None
        try:
            outside = socket.socket(dial.family_of(found[0]), socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            outside.connect((found[0], port))
        except OSError:
            counters.failed += 1
            if outside:
                outside.close()
            return
        flow.outside, flow.counters = outside, counters
        self._loop.watch(outside.fileno(), loops.READ, lambda _: self._from_outside(inside, key, flow))
        while flow.waiting:
            self._pass_on(flow, flow.waiting.popleft())

    def _pass_on(self, flow: _Flow, data: bytes) -> None:
        flow.used = self._loop.clock()
        if flow.outside and flow.counters:
            try:
                flow.counters.sent += flow.outside.send(data)
            except OSError:
                return  # datagrams may be lost

    def _from_outside(self, inside: socket.socket, key: _Key, flow: _Flow) -> None:
        if not (flow.outside and flow.counters):
            return
        for _ in range(_BURST):
            try:
                data = flow.outside.recv(_LARGEST)
            except BlockingIOError:
                return
            except OSError:
                continue  # an ICMP message, which this call has taken away
            flow.used = self._loop.clock()
            try:
                flow.counters.received += inside.sendmsg([data], [_source(key[2])], 0, key[1])
            except OSError:
                continue

    def _sweep(self) -> None:
        self._sweeping = None
        long_ago = self._loop.clock() - IDLE_SECONDS
        for key in [key for key, flow in self._flows.items() if flow.used < long_ago]:
            self._close(self._flows.pop(key))
        if self._flows:
            self._sweeping = self._loop.later(_SWEEP_SECONDS, self._sweep)

    def _close(self, flow: _Flow) -> None:
        if flow.outside:
            self._loop.forget(flow.outside.fileno())
            flow.outside.close()


def _target(ancillary: list[tuple[int, int, bytes]]) -> bytes:
    """The address that a datagram was sent to, as bytes of its family; b"" if the kernel did not tell."""
    for level, kind, data in ancillary:
        if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO) and len(data) >= _PKTINFO6.size:
            return data[:16]
        if (level, kind) == (socket.IPPROTO_IP, _IP_PKTINFO) and len(data) >= _PKTINFO4.size:
            return data[8:12]
    return b""


def _source(address: bytes) -> tuple[int, int, bytes]:
    """The control message that makes an answer come from this address."""
    if len(address) == 4:
        return socket.IPPROTO_IP, _IP_PKTINFO, _PKTINFO4.pack(0, address, bytes(4))
    return socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, _PKTINFO6.pack(address, 0)


def _text(address: bytes) -> str:
    """The text of an address, an IPv4-mapped one as IPv4."""
    found = ipaddress.ip_address(address)
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return str(mapped or found)
