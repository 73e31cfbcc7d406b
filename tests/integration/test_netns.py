"""A network namespace whose connections end at sockets that somebody outside holds."""

from __future__ import annotations

import array
import errno
import os
import socket
import struct
from typing import TYPE_CHECKING

from sandrun import libc
from sandrun.primitives import namespaces, netns
from tests.support import Who, in_child, need_namespaces

if TYPE_CHECKING:
    from collections.abc import Callable

LISTEN = ((netns.IPPROTO_TCP, 443), (netns.IPPROTO_UDP, 123))
FD_SIZE = array.array("i").itemsize
SECONDS = 50
"""How long a test waits for what the loopback interface delivers, which may be later on a busy machine."""


def furnished(act: Callable[[dict[bytes, int]], object]) -> object:
    """What `act` returns, called in a furnished namespace with the descriptors that were handed over."""
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    maps = namespaces.own_maps()
    libc.unshare(libc.CLONE_NEWNET | (libc.CLONE_NEWUSER if os.getuid() else 0))
    if os.getuid():
        namespaces.map_ids(*maps)
    netns.furnish(LISTEN, there.fileno())
    there.close()
    received = {}
    while True:
        data, fds, _, _ = socket.recv_fds(here, 64, 1)
        if not fds:
            assert data == netns.COMPLETE
            assert here.recv(1) == b"", "nobody else has the other end"
            return act(received)
        received[data] = fds[0]


def listener(protocol: int, port: int) -> bytes:
    return netns.LISTENER + struct.pack("=BH", protocol, port)


def in_namespace(who: Who, act: Callable[[dict[bytes, int]], object]) -> object:
    need_namespaces(who)
    return in_child(lambda: furnished(act), who)


def test_what_is_handed_over(who: Who) -> None:
    """A socket for each port, the two of the responder, the witness, and the namespaces themselves."""
    expected = {listener(*port) for port in LISTEN}
    expected |= {netns.DNS, netns.DNS_LISTENER, netns.WITNESS, netns.NETWORK, netns.USER}
    assert in_namespace(who, sorted) == sorted(expected)


def test_every_address_ends_here(who: Who) -> None:
    """A connection to any address arrives at the listener, which can tell the address that was meant."""

    def connect(fds: dict[bytes, int]) -> list[list[str]]:
        met = []
        with socket.socket(fileno=fds[listener(6, 443)]) as server:
            server.settimeout(SECONDS)
            for target in ("127.64.1.1", "93.184.216.34", "169.254.169.254", "10.0.0.1", "2001:db8::1"):
                with socket.create_connection((target, 443), SECONDS):
                    accepted, _ = server.accept()
                    met.append([target, accepted.getsockname()[0].removeprefix("::ffff:")])
                    accepted.close()
        return met

    assert all(target == got for target, got in in_namespace(who, connect))  # type: ignore[attr-defined]


def test_other_ports_refuse(who: Who) -> None:
    """Where nothing listens that is the answer, and the witness has seen the attempt."""

    def connect(fds: dict[bytes, int]) -> tuple[int, bool]:
        with socket.socket() as client, socket.socket(fileno=fds[netns.WITNESS]) as witness:
            client.settimeout(SECONDS)
            witness.settimeout(SECONDS)
            number = client.connect_ex(("198.51.100.7", 80))
            while socket.inet_aton("198.51.100.7") not in witness.recv(2048):
                pass
            return number, True

    assert in_namespace(who, connect) == (errno.ECONNREFUSED, True)


def test_datagrams(who: Who) -> None:
    """A datagram to any address arrives at the socket of its port, which is told the address."""

    def send(fds: dict[bytes, int]) -> str:
        with socket.socket(fileno=fds[listener(17, 123)]) as server, socket.socket(type=socket.SOCK_DGRAM) as client:
            server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
            server.settimeout(SECONDS)
            client.sendto(b"time", ("192.0.2.9", 123))
            data, ancillary, _, _ = server.recvmsg(100, 100)
            assert data == b"time"
            return socket.inet_ntop(socket.AF_INET6, ancillary[0][2][:16])

    assert in_namespace(who, send) == "::ffff:192.0.2.9"


def test_names_are_asked_for_as_with_an_address(who: Who) -> None:
    """getaddrinfo(3) with AI_ADDRCONFIG, as curl and browsers call it, finds that there is IPv4."""

    def ask(_: dict[bytes, int]) -> str:
        found = socket.getaddrinfo("192.0.2.1", 443, socket.AF_INET, flags=socket.AI_ADDRCONFIG)
        return found[0][4][0]

    assert in_namespace(who, ask) == "192.0.2.1"


def test_a_channel_without_a_reader(who: Who) -> None:
    """Where the relay is dead already the child fails, rather than go on without a network that was promised."""
    need_namespaces(who)

    def alone() -> int:
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        here.close()
        maps = namespaces.own_maps()
        libc.unshare(libc.CLONE_NEWNET | (libc.CLONE_NEWUSER if os.getuid() else 0))
        if os.getuid():
            namespaces.map_ids(*maps)
        try:
            netns.furnish(LISTEN, there.fileno())
        except OSError as error:
            return error.errno or 0
        return 0

    assert in_child(alone, who) == errno.EPIPE
