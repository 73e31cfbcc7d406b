"""DNS answers in the buffers of a command: what they say is taken, and nothing that stands there does any harm."""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING, cast

import dns.message
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandrun.observe.answers import HOSTS, Answer, Names, read
from sandrun.observe.events import FILE, Address, Event, Place
from sandrun.observe.tracee import Tracee
from tests.support import in_child

if TYPE_CHECKING:
    from tests.support import Who


def _answer(name: str, *records: tuple[str, str, str], kind: str = "A") -> bytes:
    made = dns.message.make_response(dns.message.make_query(name, kind, id=7))
    made.answer += [dns.rrset.from_text(owner, 60, "IN", type_, text) for owner, type_, text in records]
    return made.to_wire()


ONE = _answer("Allowed.Test.", ("allowed.test.", "A", "93.184.216.34"))


def test_an_answer_has_the_name_that_was_asked_for_and_all_addresses() -> None:
    wire = _answer(
        "www.a.test.",
        ("www.a.test.", "CNAME", "cdn.b.test."),
        ("cdn.b.test.", "A", "93.184.216.34"),
        ("x.b.test.", "A", "93.184.216.35"),
    )
    assert read(wire + b"what stood there before") == Answer("www.a.test", ("93.184.216.34", "93.184.216.35"))
    six = _answer("a.test.", ("a.test.", "AAAA", "2606:2800:220::34"), kind="AAAA")
    assert read(six) == Answer("a.test", ("2606:2800:220::34",))


@pytest.mark.parametrize(
    "wire",
    [
        b"",
        b"\xff" * 4096,
        ONE[:-1] + b"",
        dns.message.make_query("a.test.", "A", id=7).to_wire(),
        _answer("a.test."),
        _answer("a\\032b.test.", ("a\\032b.test.", "A", "1.2.3.4")),
        _answer("a.test.", ("a.test.", "TXT", "x"), kind="TXT"),
        ONE[:12] + b"\xc0\x0c" + ONE[14:],
    ],
)
def test_what_is_no_answer_gives_no_address(wire: bytes) -> None:
    found = read(wire)
    assert found is None or not found.addresses


@given(st.binary(max_size=300), st.binary(max_size=100))
def test_any_bytes_are_read_to_an_end(wire: bytes, tail: bytes) -> None:
    for data in (wire, ONE[:40] + tail, ONE[:2] + b"\x81\x80\0\1\0\x63\0\0\0\0" + wire):
        found = read(data)
        assert found is None or all(char.isprintable() for char in found.name)


class _Thread:
    """A caller with a memory of one answer."""

    pid = 7

    def __init__(self, memory: bytes) -> None:
        self.memory = memory

    def read(self, address: int, length: int) -> bytes:
        if address != 0x1000:
            raise OSError(14, "Bad address")
        return self.memory[:length]


def _seen(memory: bytes, port: int, *calls: tuple[str, tuple[int, ...]]) -> Names:
    names, thread = Names(), cast("Tracee", _Thread(memory))
    names.see(Event(0.0, 9, 7, "x", "connect", (3, 0, 0, 0, 0, 0), (), Address("connect", "udp", "9.9.9.9", port)))
    for name, arguments in calls:
        names.tap(9, name, arguments, lambda: thread)
    return names


RECEIVE = ("recvfrom", (3, 0x1000, 512, 0, 0, 0))


def test_the_answer_is_read_at_the_next_call_of_the_thread() -> None:
    assert _seen(ONE, 53, RECEIVE).of("93.184.216.34") == ""
    assert _seen(ONE, 53, RECEIVE, ("close", (3, 0, 0))).of("93.184.216.34") == "allowed.test"
    by_tcp = struct.pack(">H", len(ONE)) + ONE
    assert _seen(by_tcp, 53, ("read", (3, 0x1000, 512)), ("getpid", ())).of("93.184.216.34") == "allowed.test"


@pytest.mark.parametrize(
    ("port", "call"),
    [(80, RECEIVE), (53, ("recvfrom", (4, 0x1000, 512))), (53, ("recvfrom", (3, 0x2000, 512)))],
)
def test_other_sockets_and_addresses_say_nothing(port: int, call: tuple[str, tuple[int, ...]]) -> None:
    assert _seen(ONE, port, call, ("getpid", ())).of("93.184.216.34") == ""


def test_hosts_are_known_once_the_file_was_opened_and_answers_go_before() -> None:
    names = Names(lambda: "# none\n93.184.216.34 Db db2\n93.184.216.35\n93.184.216.36 other  # x\n")
    event = Event(0.0, 9, 7, "x", "openat", (0, 0, 0, 0, 0, 0), (Place(HOSTS, HOSTS, FILE, "read", 0),))
    assert names.of("93.184.216.34") == ""
    names.see(event)
    names.see(event)
    assert [names.of(f"93.184.216.{end}") for end in (34, 35, 36)] == ["db", "", "other"]


def test_a_process_may_call_itself_what_it_likes(who: Who) -> None:
    """Its name stands before the numbers in /proc, and may look like one."""

    def named() -> None:
        tracee = Tracee(os.getpid())
        for name in (b"\xc2\xb2", b"7", b"VmPeak:\t1 kB"):
            with open("/proc/self/comm", "wb") as file:
                file.write(name)
            assert tracee.memory()["VmPeak"] > 1 << 20

    in_child(named, who)
