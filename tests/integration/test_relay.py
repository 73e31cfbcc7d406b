"""Connections through the relay: bytes, ends, resets, limits, names, and the record of it all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import resource
import select
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest

from sandrun.egress import datagrams, dial, relay
from tests.integration.relaying import (
    INSIDE,
    NAME,
    OUTSIDE,
    SECONDS,
    Served,
    listener,
    nothing_left,
    number,
    reset,
    rule,
    until,
    whole,
)
from tests.support import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MUCH = 16 << 20


def fill(sock: socket.socket) -> int:
    """Send until nobody takes any more for a while. Returns how much that was."""
    sock.setblocking(False)
    sent, quiet = 0, 0
    block = bytes(1 << 16)
    while quiet < 10:
        try:
            sent += sock.send(block)
            quiet = 0
        except BlockingIOError:
            quiet += 1
            time.sleep(0.05)
    sock.settimeout(SECONDS)
    return sent


def at_rest() -> None:
    """Wait until nobody in this process works any more; who spins never comes to rest."""

    def rest() -> bool:
        before = time.process_time()
        time.sleep(0.3)
        return time.process_time() - before < 0.1

    assert until(rest), "it spins"


# --- bytes ---------------------------------------------------------------------------------------------------------


def test_bytes_both_ways() -> None:
    """Each side gets what the other sent, and the record counts it."""
    with nothing_left(), Served() as served:
        client, server = served.pair()
        with client, server:
            client.sendall(b"question")
            assert server.recv(100) == b"question"
            server.sendall(b"an answer")
            assert client.recv(100) == b"an answer"
        row = served.endpoint()
    assert row == {
        "endpoint": f"tcp:{NAME}:{served.port}",
        "connections": 1,
        "failed": 0,
        "error": "",
        "sent": 8,
        "received": 9,
    }


def test_much_both_ways_at_once() -> None:
    """Bulk data arrives whole in both directions at once, whatever way it is moved."""
    sent, answer = os.urandom(MUCH), os.urandom(MUCH)
    got: dict[str, str] = {}

    def push(sock: socket.socket, data: bytes) -> None:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)

    def pull(name: str, sock: socket.socket) -> None:
        got[name] = hashlib.sha256(whole(sock)).hexdigest()

    with nothing_left(), Served() as served:
        client, server = served.pair()
        with client, server:
            threads = [
                threading.Thread(target=push, args=(client, sent)),
                threading.Thread(target=push, args=(server, answer)),
                threading.Thread(target=pull, args=("server", server)),
                threading.Thread(target=pull, args=("client", client)),
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60)
        row = served.endpoint()
    assert got == {"server": hashlib.sha256(sent).hexdigest(), "client": hashlib.sha256(answer).hexdigest()}
    assert (row["sent"], row["received"]) == (MUCH, MUCH)


def test_bulk_and_pauses() -> None:
    """A connection may change between bulk and single bytes as often as it likes: nothing is lost or held back."""
    with nothing_left(), Served() as served:
        client, server = served.pair()
        with client, server:
            for size in (1, 300_000, 1, 70_000, 65_536, 1, 1_000_000, 2):
                data = os.urandom(size)
                pusher = threading.Thread(target=client.sendall, args=(data,))
                pusher.start()
                got = b""
                while len(got) < size:
                    got += server.recv(1 << 20)
                pusher.join()
                assert got == data


def test_a_slow_reader_slows_the_writer() -> None:
    """What nobody reads is not taken in: the relay holds little, waits without work, and loses nothing."""
    with nothing_left(), Served() as served:
        client, server = served.pair()
        with client, server:
            sent = fill(client)
            assert sent < 64 << 20
            at_rest()
            client.shutdown(socket.SHUT_WR)
            assert len(whole(server)) == sent


# --- ends ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["client", "server"])
def test_half_close(first: str) -> None:
    """An end of data is passed on, and the other direction goes on."""
    with nothing_left(), Served() as served:
        one, other = served.pair() if first == "client" else served.pair()[::-1]
        with one, other:
            one.sendall(b"that is all")
            one.shutdown(socket.SHUT_WR)
            assert whole(other) == b"that is all"
            time.sleep(0.05)
            other.sendall(b"still here")
            other.shutdown(socket.SHUT_WR)
            assert whole(one) == b"still here"


@pytest.mark.parametrize("first", ["client", "server"])
def test_reset(first: str) -> None:
    """A reset of one side is a reset for the other."""
    with nothing_left(), Served() as served:
        one, other = served.pair() if first == "client" else served.pair()[::-1]
        with other:
            one.sendall(b"x")
            assert other.recv(1) == b"x"
            reset(one)
            with pytest.raises(ConnectionResetError):
                other.recv(1)


def test_bytes_before_a_reset_arrive() -> None:
    """A server that answers and closes without having read everything resets; its answer is still passed on."""
    with nothing_left(), Served() as served:
        client, server = served.pair()
        with client:
            client.sendall(bytes(1000))
            assert until(lambda: len(server.recv(1, socket.MSG_PEEK)) == 1)
            server.sendall(b"413 too large")
            server.close()
            assert client.recv(100) == b"413 too large"


@pytest.mark.parametrize("first", ["client", "server"])
def test_both_ended_but_not_all_taken(first: str) -> None:
    """A side that is over in both directions says so for ever; the relay waits for the other without asking again."""
    with nothing_left(), Served() as served:
        one, other = served.pair() if first == "client" else served.pair()[::-1]
        with one, other:
            other.shutdown(socket.SHUT_WR)
            assert whole(one) == b""
            sent = fill(one)
            one.shutdown(socket.SHUT_WR)
            at_rest()
            assert len(whole(other)) == sent


def test_a_reset_of_one_that_is_not_read_from() -> None:
    """A reset is passed on even while nothing is read from that side, since the other takes nothing."""
    with nothing_left(), Served() as served:
        client, server = served.pair()
        with server:
            fill(client)
            reset(client)
            with pytest.raises(ConnectionResetError):
                whole(server)


def test_idle_for_a_while() -> None:
    """Nothing ends a connection on which nothing happens."""
    with nothing_left(), Served() as served:
        client, server = served.pair()
        with client, server:
            time.sleep(1.0)
            client.sendall(b"x")
            assert server.recv(1) == b"x"


def test_what_was_sent_before_the_end_arrives() -> None:
    """The command may end right after sending: its bytes go out before the relay ends."""
    data = os.urandom(3 << 20)
    got: list[bytes] = []
    with nothing_left(), Served() as served:
        client, server = served.pair()
        reader = threading.Thread(target=lambda: got.append(whole(server)))
        reader.start()
        client.sendall(data)
        client.close()
        served.end()
        reader.join(SECONDS)
        server.close()
    assert got == [data]


def test_a_connection_in_the_queue_at_the_end() -> None:
    """So do those on a connection that was not accepted yet."""
    with nothing_left(), Served() as served:
        clients = []
        for _ in range(5):
            client = served.connect()
            client.sendall(b"fire and forget")
            client.close()
            clients.append(client)
        served.end()
        for _ in clients:
            with served.outside.accept()[0] as server:
                assert whole(server) == b"fire and forget"


def test_the_end_does_not_wait_for_ever() -> None:
    """A server that takes nothing delays the end by a second, no more."""
    with nothing_left(), Served() as served:
        client, server = served.pair()
        client.setblocking(False)
        with pytest.raises(BlockingIOError):
            while client.send(bytes(1 << 16)):
                time.sleep(0.001)
        client.close()
        began = time.monotonic()
        served.end()
        server.close()
    assert time.monotonic() - began < relay.END_SECONDS + 10


def test_without_a_supervisor_it_ends_at_once() -> None:
    """The end of the control channel is the end of the relay and of every connection."""
    with nothing_left():
        served = Served()
        with served:
            client, server = served.pair()
            served.control.close()
            with client, server, pytest.raises(ConnectionResetError):
                client.recv(1)


# --- targets -------------------------------------------------------------------------------------------------------


def refused(served: Served) -> list[tuple[str, str, str]]:
    return [(row["what"], row["target"], row["reason"]) for row in served.end()["refused"]]


def test_an_address_that_was_not_granted() -> None:
    """Another address on the same port is reset and recorded, and nobody outside hears of it."""
    other = "127.0.0.9"
    with nothing_left(), Served(addresses=[INSIDE, other]) as served:
        with pytest.raises(ConnectionResetError), served.connect(other) as client:
            client.recv(1)
        assert refused(served) == [("connect", f"{other}:{served.port}", "not granted")]
        assert served.said == [f"refused: connect {other}:{served.port} (not granted)"]
        assert served.asked == []


def test_a_name_that_leads_inside() -> None:
    """A name whose address is no place on the internet is not connected to (DNS rebinding), and it is said why."""
    with nothing_left(), Served(fields={"relay_private": ()}) as served:
        with pytest.raises(ConnectionResetError), served.connect() as client:
            client.recv(1)
        ((what, target, reason),) = refused(served)
        assert (what, target) == ("address", f"{OUTSIDE}:{served.port}")
        assert NAME in reason
        assert served.document["endpoints"][0]["failed"] == 1
        served.outside.settimeout(0)
        with pytest.raises(BlockingIOError):
            served.outside.accept()


def test_the_next_address_is_tried() -> None:
    """An address where nobody listens is passed over."""
    with (
        nothing_left(),
        Served(
            hosts={NAME: ("127.0.0.66", "::1", OUTSIDE)}, fields={"relay_private": (b"127.0.0.0/8", b"::1/128")}
        ) as served,
    ):
        client, server = served.pair()
        with client, server:
            client.sendall(b"x")
            assert server.recv(1) == b"x"
        assert served.endpoint()["failed"] == 0


def test_an_address_that_does_not_answer() -> None:
    """The next one is tried beside it after a moment, and the first that answers is taken."""
    silent = "127.0.0.66"
    with nothing_left(), Served(hosts={NAME: (silent, OUTSIDE)}) as served, contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.socket())
        full.bind((silent, served.port))
        full.listen(0)
        # A listener whose queue is full drops what comes (listen(2)).
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex((silent, served.port))
        assert until(lambda: readable(full)), "the first of them is in the queue"
        began = time.monotonic()
        client, server = served.pair()
        with client, server:
            client.sendall(b"x")
            assert server.recv(1) == b"x"
        assert dial.HEAD_START * 0.9 < time.monotonic() - began < dial.LONGEST
        assert served.endpoint()["failed"] == 0


def test_nobody_listens_outside() -> None:
    """Then the command's connection is reset, and counted as failed."""
    with nothing_left(), Served() as served:
        served.outside.close()
        with pytest.raises(ConnectionResetError), served.connect() as client:
            client.recv(1)
        row = served.endpoint()
        assert (row["connections"], row["failed"]) == (1, 1)
        assert row["error"]


def test_a_name_that_does_not_exist_outside() -> None:
    """So it is where the name cannot be resolved."""
    with nothing_left(), Served(hosts={NAME: ()}) as served:
        with pytest.raises(ConnectionResetError), served.connect() as client:
            client.recv(1)
        assert served.endpoint()["failed"] == 1


def test_the_client_gives_up_while_a_name_is_looked_up() -> None:
    """Nothing is connected for a client that is gone."""
    asked, gate = threading.Event(), threading.Event()
    with nothing_left():
        served = Served()
        look_up = served.resolver._look_up  # type: ignore[attr-defined]

        def slow(name: str) -> object:
            asked.set()
            gate.wait(SECONDS)
            return look_up(name)

        served.resolver._look_up = slow  # type: ignore[attr-defined]
        with served:
            client = served.connect()
            assert asked.wait(SECONDS)
            reset(client)
            assert until(lambda: served.flows() == 0)
            gate.set()
            time.sleep(0.1)
            served.outside.settimeout(0)
            with pytest.raises(BlockingIOError):
                served.outside.accept()


# --- numbers -------------------------------------------------------------------------------------------------------


def test_too_many_connections() -> None:
    """Those beyond the limit are reset and recorded; the others go on, and one that ends makes room."""
    most = 3
    with nothing_left(), Served(descriptors=12) as served:
        pairs = [served.pair() for _ in range(most)]
        with pytest.raises(ConnectionResetError), served.connect() as client:
            client.recv(1)
        for client, server in pairs:
            client.sendall(b"x")
            assert server.recv(1) == b"x"
        for sock in pairs.pop():
            sock.close()
        assert until(lambda: served.flows() < most)
        pairs.append(served.pair())
        for pair in pairs:
            for sock in pair:
                sock.close()
        assert refused(served) == [("limit", f"{most} connections", "too many at once")]


@pytest.fixture
def most_descriptors() -> Iterator[None]:
    """As many descriptors as may be had, as for the relay of a launch: the usual 1024 are few for 300 connections."""
    before, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (before, most))


@pytest.mark.usefixtures("most_descriptors")
def test_many_at_once_and_none_left() -> None:
    """Hundreds of connections at once, each with its own bytes; afterwards no descriptor is left."""
    with nothing_left(), Served() as served:
        pairs = [served.pair() for _ in range(300)]
        for at, (client, _) in enumerate(pairs):
            client.sendall(str(at).encode())
        assert sorted(int(server.recv(100)) for _, server in pairs) == list(range(300))
        for client, server in pairs:
            client.close()
            assert server.recv(1) == b""
            server.close()
        assert served.endpoint()["connections"] == 300


def chaos(sock: socket.socket, dice: random.Random) -> None:
    """Be a program that does anything to its connection, in any order."""
    with contextlib.suppress(OSError), sock:
        sock.settimeout(dice.choice((0.01, 0.1)))
        acts: tuple[Callable[[], object], ...] = (
            lambda: sock.send(bytes(dice.choice((1, 70_000, 1_000_000)))),
            lambda: sock.recv(dice.choice((1, 1 << 20))),
            lambda: sock.shutdown(dice.choice((socket.SHUT_RD, socket.SHUT_WR, socket.SHUT_RDWR))),
            lambda: time.sleep(dice.random() / 50),
            lambda: sock.send(b"x", socket.MSG_OOB),
            lambda: reset(sock),
        )
        for _ in range(dice.randrange(1, 8)):
            dice.choice(acts)()


def whatever(sock: socket.socket) -> bytes:
    """What comes until the end of a connection, be it a reset."""
    got = bytearray()
    with sock, contextlib.suppress(ConnectionResetError):
        sock.settimeout(SECONDS)
        while part := sock.recv(1 << 20):
            got += part
    return bytes(got)


def test_anything_in_any_order() -> None:
    """Whatever both sides do to their connections, the relay serves on, leaves nothing behind and comes to rest."""
    with nothing_left(), Served() as served:
        until_then = time.monotonic() + 1.5

        def serve() -> None:
            served.outside.settimeout(0.3)
            with contextlib.suppress(TimeoutError):
                while True:
                    chaos(served.outside.accept()[0], random.Random(1))

        def use(seed: int) -> None:
            dice = random.Random(seed)
            while time.monotonic() < until_then:
                with contextlib.suppress(OSError):
                    chaos(served.connect(), dice)

        threads = [threading.Thread(target=use, args=(seed,)) for seed in range(4)]
        threads += [threading.Thread(target=serve) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        at_rest()
        served.outside.settimeout(SECONDS)
        with served.connect() as client:
            client.sendall(b"still there")
            client.shutdown(socket.SHUT_WR)
            while b"still there" not in whatever(served.outside.accept()[0]):
                pass  # of those before it that no thread had the time for


# --- names ---------------------------------------------------------------------------------------------------------


def readable(sock: socket.socket) -> bool:
    return bool(select.select([sock], [], [], 0)[0])


def udp(address: str = "127.0.0.1") -> socket.socket:
    sock = socket.socket(type=socket.SOCK_DGRAM)
    sock.bind((address, 0))
    sock.settimeout(SECONDS)
    return sock


def query(name: str, kind: int = 1) -> bytes:
    labels = b"".join(bytes((len(label),)) + label.encode() for label in name.split("."))
    return b"\x12\x34\1\0\0\1\0\0\0\0\0\0" + labels + b"\0" + kind.to_bytes(2, "big") + b"\0\1"


def test_names_by_udp_and_tcp() -> None:
    """The responder answers both ways: the address of a granted name, and that others do not exist."""
    responder, stream = udp(), listener("127.0.0.1")
    responder.setblocking(False)
    with nothing_left(), Served(dns=responder, dns_listener=stream) as served:
        with udp() as client:
            client.sendto(query(NAME), responder.getsockname())
            assert client.recv(512).endswith(socket.inet_aton(INSIDE))
            client.sendto(b"garbage", responder.getsockname())
            client.sendto(query("evil.example"), responder.getsockname())
            while (answer := client.recv(512))[:2] != b"\x12\x34":
                pass
            assert answer[3] & 15 == 3
        with socket.create_connection(stream.getsockname(), SECONDS) as client:
            one = query(NAME)
            both = 2 * (len(one).to_bytes(2, "big") + one)
            client.sendall(both[:7])
            time.sleep(0.05)
            client.sendall(both[7:])
            got = b""
            while got.count(socket.inet_aton(INSIDE)) < 2:
                got += client.recv(2000)
        assert ("name", "evil.example", "not granted") in refused(served)
    responder.close()
    stream.close()


def test_wildcards_are_connected_to_by_their_own_name() -> None:
    """A name under a wildcard gets an address when it is asked for, and connections there lead to that name."""
    responder = udp()
    responder.setblocking(False)
    port = free_port()
    with (
        nothing_left(),
        Served(
            rule("*.wild.test", port),
            port=port,
            addresses=["127.96.0.1", "127.96.0.2"],
            hosts={"b.wild.test": (OUTSIDE,), "a.wild.test": ()},
            dns=responder,
        ) as served,
        udp() as client,
    ):
        addresses = []
        for name in ("a.wild.test", "b.wild.test"):
            client.sendto(query(name), responder.getsockname())
            addresses.append(socket.inet_ntoa(client.recv(512)[-4:]))
        assert addresses == ["127.96.0.1", "127.96.0.2"]
        with served.connect(addresses[1]) as connection, served.outside.accept()[0] as server:
            connection.sendall(b"x")
            assert server.recv(1) == b"x"
        assert served.asked == ["b.wild.test"]
    responder.close()


def test_dns_connections_are_limited_and_end() -> None:
    """Idle DNS connections cannot use anything up."""
    stream = listener("127.0.0.1")
    with nothing_left(), Served(dns_listener=stream) as served:
        clients = [socket.create_connection(stream.getsockname(), SECONDS) for _ in range(32)]
        with pytest.raises(ConnectionResetError), socket.create_connection(stream.getsockname(), SECONDS) as client:
            client.recv(1)
        for client in clients:
            client.close()
        assert ("limit", "DNS connections", "too many at once") in refused(served)
    stream.close()


# --- datagrams -----------------------------------------------------------------------------------------------------


def test_datagrams() -> None:
    """Datagrams go to the granted name, and answers come from the address that was asked."""
    server = udp(OUTSIDE)
    port = server.getsockname()[1]
    inside = socket.socket(type=socket.SOCK_DGRAM)
    inside.bind((INSIDE, port))
    inside.setblocking(False)
    with (
        nothing_left(),
        Served(rule(NAME, port, protocol=17), datagrams=[inside]) as served,
        udp() as client,
        udp() as another,
    ):
        client.sendto(b"one", (INSIDE, port))
        data, peer = server.recvfrom(100)
        assert data == b"one"
        with udp() as stranger:
            stranger.sendto(b"forged", peer)
        server.sendto(b"answer", peer)
        assert client.recvfrom(100) == (b"answer", (INSIDE, port))
        another.sendto(b"two", (INSIDE, port))
        data, other_peer = server.recvfrom(100)
        assert (data, other_peer != peer) == (b"two", True)
        row = served.endpoint()
        assert row == {
            "endpoint": f"udp:{NAME}:{port}",
            "connections": 2,
            "failed": 0,
            "error": "",
            "sent": 6,
            "received": 6,
        }
    server.close()
    inside.close()


def test_datagrams_that_were_not_granted() -> None:
    """They go nowhere, and are recorded."""
    inside = udp("127.0.0.9")
    inside.setblocking(False)
    with nothing_left(), Served(datagrams=[inside]) as served, udp() as client:
        client.sendto(b"x", inside.getsockname())
        assert until(lambda: bool(served.said))
        assert refused(served) == [("udp", f"127.0.0.9:{inside.getsockname()[1]}", "not granted")]
    inside.close()


def test_flows_of_datagrams_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that sends from ever new ports uses up its own room only."""
    monkeypatch.setattr(datagrams, "MOST_FLOWS", 2)
    inside = udp(INSIDE)
    inside.setblocking(False)
    port = inside.getsockname()[1]
    with nothing_left(), Served(rule(NAME, port, protocol=17), datagrams=[inside]) as served:
        for _ in range(4):
            with udp() as client:
                client.sendto(b"x", (INSIDE, port))
        assert until(lambda: bool(served.said))
        assert refused(served) == [("limit", "flows of UDP", "too many at once")]
    inside.close()


def test_the_pool_is_where_names_are() -> None:
    """The numbers of this file agree with the product's."""
    assert number(INSIDE) >> 22 == number("127.64.0.0") >> 22
