"""The DNS responder: what granted and other names are answered, and that no packet makes it stumble.

dnspython's full message parser, which the product does not use, is the client.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

import dns.edns
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sandrun.egress.dns import MAX_QUERY, answer
from sandrun.egress.names import Table, hostname, in_pool
from sandrun.plan import egress
from sandrun.profile import endpoints
from sandrun.profile.bad import Bad

if TYPE_CHECKING:
    from dns.message import Message

STATIC = ((0x7F400101, "pypi.org"), (0x7F400102, "files.pythonhosted.org"))
LONGEST = ".".join(["a" * 63] * 3 + ["b" * 61])


class Side(NamedTuple):
    """A table and what it refused."""

    table: Table
    refused: list[tuple[str, str]]

    def ask(self, name: str, kind: str = "A", **options: object) -> Message:
        query = dns.message.make_query(name, kind, **options)
        wire = answer(query.to_wire(), self.table)
        assert wire is not None
        assert len(wire) <= 512
        response = dns.message.from_wire(wire)
        assert query.is_response(response)
        assert response.flags & dns.flags.RA
        return response

    def address(self, name: str) -> str:
        (rrset,) = self.ask(name).answer
        (record,) = rrset
        return record.address


def side(limit: int = 4096) -> Side:
    refused: list[tuple[str, str]] = []
    allows = lambda name: name.endswith((".example.org", LONGEST))  # noqa: E731
    return Side(Table(STATIC, allows, lambda name, reason: refused.append((name, reason)), limit=limit), refused)


def test_static_names_have_their_addresses() -> None:
    """In any case of letters, which comes back as it was asked; with a TTL."""
    s = side()
    assert s.address("pypi.org") == "127.64.1.1"
    response = s.ask("PyPI.ORG")
    assert response.answer[0].to_text() == "PyPI.ORG. 30 IN A 127.64.1.1"
    assert s.address("files.pythonhosted.org") == "127.64.1.2"
    assert s.refused == []


def test_other_names_do_not_exist() -> None:
    """NXDOMAIN at once, and it is recorded."""
    s = side()
    assert s.ask("evil.test").rcode() == dns.rcode.NXDOMAIN
    assert s.ask("sub.pypi.org", "AAAA").rcode() == dns.rcode.NXDOMAIN
    assert s.refused == [("evil.test", "not granted"), ("sub.pypi.org", "not granted")]


def test_names_under_a_wildcard_get_an_address_that_stays() -> None:
    """Each its own, from the upper half of the pool; questions for other types spend none."""
    s = side()
    s.ask("x.example.org", "AAAA")
    first, second = s.address("a.example.org"), s.address("b.example.org")
    assert (first, second) == ("127.96.0.1", "127.96.0.2")
    assert s.address("A.example.ORG") == first
    assert s.table.name_of(0x7F600001) == "a.example.org"
    assert s.table.name_of(0x7F600003) == ""


def test_the_table_fills_up() -> None:
    """REFUSED then, and recorded; what has an address keeps it."""
    s = side(limit=2)
    for name in ("a", "b"):
        s.address(f"{name}.example.org")
    assert s.ask("c.example.org").rcode() == dns.rcode.REFUSED
    assert s.refused == [("c.example.org", "too many names")]
    assert s.address("a.example.org") == "127.96.0.1"
    assert s.address("pypi.org") == "127.64.1.1"


def test_addresses_never_end_in_0_or_255_and_never_repeat() -> None:
    """All are in the pool, and apart from those that the plan gives to as many static names as there may be."""
    s = side()
    given_out = {s.table.address_of(f"n{n}.example.org") for n in range(1000)}
    assert len(given_out) == 1000
    assert all(in_pool(address) and 0 < address & 255 < 255 for address in given_out)
    static = {address for address, _ in egress.addresses(("x",) * egress.MOST_NAMES)}
    assert all(map(in_pool, static))
    assert max(static) < min(given_out)


@pytest.mark.parametrize("kind", ["AAAA", "HTTPS", "MX", "TXT", "SOA", "NS", "ANY", "SRV", "CNAME", "DS", "TYPE65280"])
def test_other_types_are_empty(kind: str) -> None:
    """A granted name exists but has no such record: no error, no answer."""
    response = side().ask("pypi.org", kind)
    assert response.rcode() == dns.rcode.NOERROR
    assert not response.answer


def test_reverse_lookups_inside() -> None:
    """Addresses of the pool and loopback have names; asking for others is recorded."""
    s = side()
    s.address("a.example.org")
    for address, name in (("1.1.64.127", "pypi.org."), ("1.0.96.127", "a.example.org."), ("1.0.0.127", "localhost.")):
        (rrset,) = s.ask(f"{address}.in-addr.arpa", "PTR").answer
        assert rrset[0].target.to_text() == name
    assert s.ask("9.9.96.127.in-addr.arpa", "PTR").rcode() == dns.rcode.NXDOMAIN
    assert s.refused == []
    for name in ("8.8.8.8.in-addr.arpa", "x.in-addr.arpa", "in-addr.arpa", "256.1.1.1.in-addr.arpa"):
        assert s.ask(name, "PTR").rcode() == dns.rcode.NXDOMAIN
    assert [name for name, _ in s.refused][:2] == ["8.8.8.8.in-addr.arpa", "x.in-addr.arpa"]


def test_the_longest_name_fits() -> None:
    """The answers to the longest question, and about the longest name, stay below 512 bytes."""
    s = side()
    assert s.address(LONGEST) == "127.96.0.1"
    (rrset,) = s.ask("1.0.96.127.in-addr.arpa", "PTR", use_edns=0, payload=4096).answer
    assert rrset[0].target.to_text() == LONGEST + "."


def test_localhost_is_inside() -> None:
    """It never reaches the host (RFC 6761)."""
    s = side()
    assert s.address("localhost") == s.address("x.LOCALHOST") == "127.0.0.1"
    assert not s.ask("localhost", "AAAA").answer


def test_edns() -> None:
    """An OPT record is answered by one, with the DO bit; options are ignored; a later version is told so."""
    s = side()
    response = s.ask(
        "pypi.org", use_edns=0, want_dnssec=True, payload=4096, options=[dns.edns.GenericOption(10, b"12345678")]
    )
    assert response.edns == 0
    assert response.ednsflags == dns.flags.DO
    assert response.payload == 1232
    assert not response.options
    assert len(response.answer) == 1
    later = s.ask("pypi.org", use_edns=1)
    assert later.rcode() == dns.rcode.BADVERS
    assert not later.answer
    assert s.ask("pypi.org").edns == -1


def test_class_and_opcode() -> None:
    """Only class IN and QUERY are implemented."""
    s = side()
    query = dns.message.make_query("version.bind", "TXT", "CH")
    assert dns.message.from_wire(answer(query.to_wire(), s.table) or b"").rcode() == dns.rcode.NOTIMP
    query = dns.message.make_query("pypi.org", "SOA")
    query.set_opcode(dns.opcode.NOTIFY)
    wire = answer(query.to_wire(), s.table) or b""
    assert wire[:2] == query.to_wire()[:2]
    assert wire[3] & 15 == dns.rcode.NOTIMP
    assert s.refused == []


QUESTION = b"\x04pypi\x03org\0\0\1\0\1"
OPT = b"\0\0\x29\x04\xd0\0\0\0\0\0\0"


def packet(body: bytes, *counts: int, flags: int = 0x0100) -> bytes:
    return struct.pack("!HHHHHH", 7, flags, *(*counts, 0, 0, 0, 0)[:4]) + body


MALFORMED = {
    "no question": packet(b"", 0),
    "a count without a question": packet(b"", 1),
    "two questions": packet(QUESTION * 2, 2),
    "an answer": packet(QUESTION, 1, 1),
    "an authority": packet(QUESTION, 1, 0, 1),
    "trailing bytes": packet(QUESTION + b"x", 1),
    "a truncated name": packet(QUESTION[:6], 1),
    "no class": packet(QUESTION[:-2], 1),
    "a pointer to itself": packet(b"\xc0\x0c\0\1\0\1", 1),
    "a pointer to the header": packet(b"\xc0\x00\0\1\0\1", 1),
    "a pointer beyond the end": packet(b"\x01a\xff\xff\0\1\0\1", 1),
    "an unknown label type": packet(b"\x41" + b"a" * 65 + b"\0\0\1\0\1", 1),
    "a label longer than the packet": packet(b"\x3fabc", 1),
    "a name of 256 bytes": packet((b"\x3f" + b"a" * 63) * 3 + b"\x3e" + b"a" * 62 + b"\0\0\1\0\1", 1),
    "two OPT records": packet(QUESTION + OPT * 2, 1, 0, 0, 2),
    "a truncated OPT record": packet(QUESTION + OPT[:-1], 1, 0, 0, 1),
    "an OPT record with too much length": packet(QUESTION + OPT[:-2] + b"\xff\xff", 1, 0, 0, 1),
    "an OPT record with an owner": packet(QUESTION + b"\1a" + OPT, 1, 0, 0, 1),
    "an OPT record that does not start with the root": packet(QUESTION + b"\5" + OPT[1:], 1, 0, 0, 1),
    "another additional record": packet(QUESTION + b"\0\0\1\0\1\0\0\0\0\0\4\1\2\3\4", 1, 0, 0, 1),
    "a truncated message": packet(QUESTION, 1, flags=0x0300),
}


@pytest.mark.parametrize("wire", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_queries(wire: bytes) -> None:
    """FORMERR with the number of the query and nothing of its contents."""
    s = side()
    response = answer(wire, s.table)
    assert response is not None
    assert response[:2] == wire[:2]
    assert len(response) == 12
    assert response[3] & 15 == dns.rcode.FORMERR
    assert s.refused == []


@pytest.mark.parametrize("wire", [b"", b"x" * 11, packet(QUESTION, 1, flags=0x8100), packet(b"\0" * MAX_QUERY, 1)])
def test_silence(wire: bytes) -> None:
    """Fragments, responses and huge packets get no answer: no loop between two responders."""
    assert answer(wire, side().table) is None


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (r"pypi\.org", r"pypi\.org"),
        (r"a\.b.example.org", r"a\.b.example.org"),
        (r"a\000.example.org", r"a\000.example.org"),
        (r"\195\164.example.org", r"\195\164.example.org"),
        (r"\027[2J.example.org", r"\027[2j.example.org"),
        ("-a.example.org", "-a.example.org"),
        ("127.1", "127.1"),
        ("2130706433", "2130706433"),
        ("0x7f000001", "0x7f000001"),
        ("127.0.0.1", "127.0.0.1"),
        (".", "."),
    ],
)
def test_what_is_no_host_name_does_not_exist(name: str, shown: str) -> None:
    """A label with a dot in it is not two labels, and an address in an odd spelling is no name, under any grant."""
    refused: list[tuple[str, str]] = []
    s = Side(Table(STATIC, lambda _: True, lambda *what: refused.append(what)), refused)
    assert s.ask(name).rcode() == dns.rcode.NXDOMAIN
    ((told, reason),) = refused
    assert told.lower() == shown
    assert reason == "not a host name"
    assert told.isprintable()


@given(st.lists(st.binary(min_size=1, max_size=63), max_size=6).map(tuple))
@example((b"pypi", b"org"))
@example((b"xn--bcher-kva", b"example"))
def test_a_host_name_is_one_that_a_profile_could_write(labels: tuple[bytes, ...]) -> None:
    """What the responder takes for a name is a canonical host name to the parser of endpoints."""
    name = hostname(labels)
    if name:
        endpoint = endpoints.parse(f"{name}:443")
        assert (endpoint.kind, endpoint.host) == ("name", name)


@given(st.from_regex(r"\A[a-z0-9_.-]{1,60}\Z"))
def test_a_name_that_a_profile_can_write_is_a_host_name(text: str) -> None:
    """The reverse: each granted name can be asked for."""
    try:
        endpoint = endpoints.parse(f"{text}:443")
    except Bad:
        return
    if endpoint.kind == "name" and not text.endswith("."):
        assert hostname(tuple(label.encode() for label in text.split("."))) == endpoint.host


VALID = dns.message.make_query(
    "a.example.org", "A", use_edns=0, options=[dns.edns.GenericOption(10, b"12345678")]
).to_wire()


def test_the_longest_host_name() -> None:
    """253 letters and dots, which are 255 bytes in a packet."""
    assert hostname(tuple(LONGEST.encode().split(b"."))) == LONGEST
    assert hostname((*LONGEST.encode().split(b".")[:-1], b"b" * 62)) == ""


def check_any(wire: bytes, table: Table) -> None:
    response = answer(wire, table)
    if response is None:
        return
    assert 12 <= len(response) <= 512
    assert response[:2] == wire[:2]
    assert response[2] & 0x80
    parsed = dns.message.from_wire(response) if response[2] & 0x78 == 0 else None
    if parsed is not None and parsed.answer:
        (rrset,) = parsed.answer
        assert rrset.rdtype in (1, 12)
        assert (
            rrset.rdtype == 12
            or in_pool(int.from_bytes(rrset[0].to_wire(), "big"))
            or "localhost" in str(rrset).lower()
        )


@given(st.binary(max_size=600))
def test_any_bytes(wire: bytes) -> None:
    """Whatever comes: an answer that can be read, with the right number, or none."""
    check_any(wire, side().table)


@given(st.binary(max_size=300), st.integers(0, 0x7FFF), st.lists(st.integers(0, 2), min_size=4, max_size=4))
def test_any_body_behind_a_header(body: bytes, flags: int, counts: list[int]) -> None:
    """The same with a header that leads further in."""
    check_any(packet(body, *counts, flags=flags), side().table)


@given(st.lists(st.tuples(st.integers(0, len(VALID) - 1), st.integers(0, 255)), max_size=6), st.integers(0, len(VALID)))
def test_damaged_queries(damage: list[tuple[int, int]], length: int) -> None:
    """The same with a good query in which bytes were changed and the end cut off."""
    wire = bytearray(VALID)
    for place, value in damage:
        wire[place] = value
    check_any(bytes(wire[:length]), side().table)
    check_any(bytes(wire), side().table)


@given(st.lists(st.binary(max_size=70), max_size=8), st.integers(0, 65535), st.integers(0, 65535))
def test_any_labels(labels: list[bytes], kind: int, cls: int) -> None:
    """Labels of any bytes and length, also those whose length is a pointer or a reserved type; any type and class."""
    name = b"".join(bytes((len(label),)) + label for label in labels) + b"\0"
    check_any(packet(name + struct.pack("!HH", kind, cls) + OPT, 1, 0, 0, 1), side().table)
