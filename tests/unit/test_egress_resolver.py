"""Looking names up outside: bounded, remembered for a moment, and never in the way of the relay."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import threading
import time

import pytest

from sandrun.egress import resolver
from sandrun.egress.resolver import Answer, Resolver, is_own, system
from sandrun.egress.rules import Found
from tests.support import CHECKOUT, need, need_program

ONE = (Found("192.0.2.1", own=False),)
PATIENCE_SECONDS = 60


class Outside:
    """A host whose name server answers when the test says so, and its clock."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.gate = threading.Event()
        self.now = 100.0
        self.busy = self.most = 0
        self.lock = threading.Lock()

    def look_up(self, name: str) -> tuple[Found, ...]:
        with self.lock:
            self.asked.append(name)
            self.busy += 1
            self.most = max(self.most, self.busy)
        assert self.gate.wait(PATIENCE_SECONDS)
        with self.lock:
            self.busy -= 1
        if name == "gone.example":
            raise socket.gaierror(-2, "Name or service not known")
        return () if name == "empty.example" else ONE

    def clock(self) -> float:
        return self.now


@pytest.fixture
def outside():
    outside = Outside()
    yield outside
    outside.gate.set()


@pytest.fixture
def asked(outside):
    made = Resolver[object](outside.look_up, threads=2, waiting=3, clock=outside.clock)
    yield made
    made.close()


def collect(asked: Resolver, number: int) -> list:
    """The answers, once there are so many; fails after a while."""
    came: list = []
    poll = select.poll()
    poll.register(asked.fileno(), select.POLLIN)
    until = time.monotonic() + PATIENCE_SECONDS
    while len(came) < number and time.monotonic() < until:
        poll.poll(100)
        came += asked.answers()
    assert len(came) == number
    return came


def test_an_answer_comes_by_the_descriptor(outside, asked) -> None:
    """Nothing is readable before; then exactly the token and the answer."""
    token = object()
    assert asked.ask("a.example", token) is None
    assert asked.answers() == []
    outside.gate.set()
    assert collect(asked, 1) == [(token, Answer(ONE, ""))]
    assert asked.answers() == []
    assert select.select([asked.fileno()], [], [], 0)[0] == []


def test_one_lookup_serves_all_who_ask_meanwhile(outside, asked) -> None:
    """A hundred connections to one name are one question."""
    for token in range(100):
        assert asked.ask("a.example", token) is None
    outside.gate.set()
    assert sorted(token for token, _ in collect(asked, 100)) == list(range(100))
    assert outside.asked == ["a.example"]


def test_answers_are_kept_for_a_moment(outside, asked) -> None:
    """Within five seconds the same answer comes at once, a failure too; later it is asked anew."""
    outside.gate.set()
    for name in ("a.example", "gone.example"):
        asked.ask(name, 1)
        ((_, answer),) = collect(asked, 1)
        outside.now += 4.9
        assert asked.ask(name, 2) == answer
        outside.now += 0.2
        assert asked.ask(name, 3) is None
        collect(asked, 1)
    assert outside.asked == ["a.example", "a.example", "gone.example", "gone.example"]


def test_failures_say_why(outside, asked) -> None:
    """In the words of gai_strerror(3)."""
    outside.gate.set()
    asked.ask("gone.example", 1)
    assert collect(asked, 1) == [(1, Answer((), "Name or service not known"))]
    asked.ask("empty.example", 2)
    assert collect(asked, 1) == [(2, Answer((), "no address"))]


def test_lookups_are_bounded(outside, asked) -> None:
    """Two at once, three more wait; beyond that a name is refused at once, and may be asked later."""
    for n in range(5):
        assert asked.ask(f"n{n}.example", n) is None
    refused = asked.ask("n5.example", 5)
    assert refused is not None
    assert refused.limit
    outside.gate.set()
    assert sorted(token for token, _ in collect(asked, 5)) == [0, 1, 2, 3, 4]
    assert outside.most <= 2
    assert asked.ask("n5.example", 5) is None
    collect(asked, 1)


def test_memory_is_bounded(outside, asked, monkeypatch) -> None:
    """The oldest answers are forgotten."""
    monkeypatch.setattr(resolver, "MAX_KEPT", 3)
    outside.gate.set()
    for n in range(10):
        assert asked.ask(f"n{n}.example", n) is None
        collect(asked, 1)
    assert asked.ask("n9.example", 1) is not None
    assert asked.ask("n6.example", 1) is None
    collect(asked, 1)


def test_closing_leaves_nothing(outside) -> None:
    """A lookup that ends after `close` writes to no descriptor, whose number may be another's; its thread ends."""
    before = set(threading.enumerate())  # among them those of the tests before that are about to end
    reader, writer = os.pipe2(os.O_NONBLOCK)
    asked = Resolver[int](outside.look_up, threads=2)
    asked.ask("a.example", 1)
    number = asked.fileno()
    asked.close()
    try:
        os.dup2(writer, number)
        outside.gate.set()
        until = time.monotonic() + PATIENCE_SECONDS
        while (left := set(threading.enumerate()) - before) and time.monotonic() < until:
            time.sleep(0.01)
        assert not left
        with pytest.raises(BlockingIOError):
            os.read(reader, 8)
    finally:
        for fd in {reader, writer, number}:
            os.close(fd)
    assert asked.answers() == []
    refused = asked.ask("b.example", 2)
    assert refused is not None
    assert refused.limit
    asked.close()


def test_no_thread_before_the_first_question(outside) -> None:
    """Threads made before the relay confines itself would be free."""
    before = set(threading.enumerate())
    asked = Resolver[int](outside.look_up)
    assert not set(threading.enumerate()) - before
    asked.close()


def test_the_system_resolves_localhost() -> None:
    """By the host's own configuration; the addresses are marked as the machine's own."""
    found = system("localhost")
    assert found
    assert all(entry.own and entry.address in ("127.0.0.1", "::1") for entry in found)
    with pytest.raises(OSError):
        system("x" * 64)  # longer than a label can be, so that no name server is asked


def test_lookups_import_nothing() -> None:
    """Confined, the relay could not open its own library."""
    code = (
        "import sys; from sandrun.egress.resolver import system; before = set(sys.modules); system('localhost');"
        "print(set(sys.modules) - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("set()", "")


def test_own_addresses() -> None:
    """Loopback is, the addresses for documentation are not."""
    assert is_own("127.0.0.1")
    assert is_own("127.9.9.9")
    assert not is_own("192.0.2.77")
    assert not is_own("2001:db8::77")


OWN = """
ip link set lo up
ip link add v0 type veth peer name v1 || exit 77
ip address add 198.51.100.1/24 dev v0
ip address add 198.51.100.2/24 dev v0
ip address add 2001:db8::1/64 dev v0 nodad
ip link set v0 up
ip link set v1 up
"$0" -c '
import sys
from sandrun.egress.resolver import is_own
print(*map(is_own, sys.argv[1:]))' "$@"
"""


def test_every_address_of_an_interface_is_own() -> None:
    """Also the secondary ones, from which nothing is sent; not their neighbours, nor what no route leads to."""
    need_program("ip")
    own = ("198.51.100.1", "198.51.100.2", "2001:db8::1", "127.0.0.1", "::1", "fe80::1%v0")
    others = ("198.51.100.3", "2001:db8::2", "198.51.100.255", "1.1.1.1", "2606:4700::1111")
    words = ["unshare", "--net", *(["--map-root-user"] if os.geteuid() else []), "sh", "-c", OWN, sys.executable]
    done = subprocess.run([*words, *own, *others], cwd=CHECKOUT, capture_output=True, text=True)
    need(done.returncode == 0, f"no network namespace with interfaces to be had: {done.stderr}")
    assert done.stdout.split() == ["True"] * len(own) + ["False"] * len(others)


def test_no_more_questions_wait_than_may(outside, asked, monkeypatch) -> None:
    """Whoever asks for one slow name again and again fills no memory: what is too much is answered at once."""
    monkeypatch.setattr(resolver, "MAX_TOKENS", 5)
    assert [asked.ask("a.example", number) for number in range(5)] == [None] * 5
    for name in ("a.example", "b.example"):
        answer = asked.ask(name, 5)
        assert answer is not None
        assert answer.limit
    outside.gate.set()
    assert [token for token, _ in collect(asked, 5)] == list(range(5))
    assert asked.ask("b.example", 6) is None
