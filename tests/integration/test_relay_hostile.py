"""What a hostile command or server does to the relay by the protocols themselves."""

from __future__ import annotations

import os
import socket
import threading

from sandrun.egress import datagrams, relay, resolver
from sandrun.plan.format import Plan
from tests.integration.relaying import Served, nothing_left, whole


def test_urgent_data_is_no_end() -> None:
    """Urgent data in the middle of bulk data arrives in its place, and what follows it arrives too."""
    pieces = [os.urandom(3 << 20) for _ in range(8)]

    def push(client: socket.socket) -> None:
        for piece in pieces:
            client.sendall(piece)
            client.send(b"!", socket.MSG_OOB)
        client.shutdown(socket.SHUT_WR)

    with nothing_left(), Served() as served:
        client, server = served.pair()
        with client, server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
            pusher = threading.Thread(target=push, args=(client,))
            pusher.start()
            got = whole(server)
            pusher.join()
    assert got == b"".join(piece + b"!" for piece in pieces)


def test_few_bytes_wait_for_a_name() -> None:
    """Datagrams for a name that is still being looked up are kept as far as they are small."""
    large = datagrams._Flow(0.0)
    for _ in range(16):
        large.keep(bytes(60_000))
    assert sum(map(len, large.waiting)) == 60_000
    small = datagrams._Flow(0.0)
    for number in range(20):
        small.keep(bytes((number,)) * 512)
    assert [data[0] for data in small.waiting] == list(range(4, 20))


def test_the_end_comes_while_connections_come() -> None:
    """What goes on connecting when the command has ended holds the record back for a moment only."""
    names: resolver.Resolver[relay.Asked] = resolver.Resolver()
    at_work = relay.Relay(Plan(), relay.Sockets(), names)
    at_work._accepting.append(lambda: True)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        ours.send(b"end")
        serving = threading.Thread(target=at_work.run, args=(theirs,), daemon=True)
        serving.start()
        serving.join(60)
    assert not serving.is_alive()


def test_peers_of_published_ports_leave_room() -> None:
    """However many connect to a published port, the command has half of the connections for itself."""
    with nothing_left():
        at_work = relay.Relay(Plan(), relay.Sockets(), resolver.Resolver(), descriptors=64)
        far = []

        def opened(*, is_commands: bool) -> bool:
            near, other = socket.socketpair()
            far.append(other)
            return at_work._open(near, None, is_commands=is_commands) is not None

        published = [opened(is_commands=False) for _ in range(64)].count(True)
        own = [opened(is_commands=True) for _ in range(64)].count(True)
        at_work.close()
        for sock in far:
            sock.close()
    assert 0 < published <= own
    assert {row["target"] for row in at_work.record.document()["refused"]} == {  # type: ignore[attr-defined]
        "connections to published ports",
        f"{published + own} connections",
    }
