"""Packets that refuse something: which attempt they mean, and that nothing else does."""

from __future__ import annotations

import ipaddress
import struct

from hypothesis import given
from hypothesis import strategies as st

from sandrun.egress import witness

RST, ACK, SYN = 0x04, 0x10, 0x02
ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))
PORTS = st.integers(0, 65535)


def ip(protocol: int, source: object, target: object, body: bytes) -> bytes:
    """A packet without options."""
    one, two = ipaddress.ip_address(str(source)), ipaddress.ip_address(str(target))
    if one.version == 4:
        return struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0, 64, protocol, 0) + one.packed + two.packed + body
    return struct.pack(">IHBB", 6 << 28, len(body), protocol, 64) + one.packed + two.packed + body


def tcp(source: int, target: int, flags: int, sequence: int = 0) -> bytes:
    return struct.pack(">HHIIBBHHH", source, target, sequence, 1, 0x50, flags, 0, 0, 0)


def unreachable(version: int, code: int, inner: bytes) -> bytes:
    """ICMP "port unreachable" has code 3 in version 4 and 4 in version 6."""
    return struct.pack(">BBHI", 3 if version == 4 else 1, code, 0, 0) + inner


@given(ADDRESSES, PORTS, PORTS)
def test_a_reset_that_answers_a_syn(target: ipaddress.IPv4Address, port: int, own: int) -> None:
    """The attempt was at where the reset comes from."""
    packet = ip(6, target, target, tcp(port, own, RST | ACK))
    assert witness.refused(packet) == (witness.TCP, str(target), port, own)


@given(ADDRESSES, st.sampled_from([(SYN, 0), (ACK, 0), (RST, 0), (RST | ACK, 1), (SYN | ACK, 0)]))
def test_other_segments(target: ipaddress.IPv4Address, kind: tuple[int, int]) -> None:
    """Nothing of a connection that came about is a refusal, its reset included."""
    assert witness.refused(ip(6, target, target, tcp(80, 1000, *kind))) is None


@given(ADDRESSES, PORTS, PORTS)
def test_a_port_without_a_socket(target: ipaddress.IPv4Address, port: int, own: int) -> None:
    """The attempt is in the datagram that the ICMP message quotes."""
    version = target.version
    inner = ip(17, target, target, struct.pack(">HHHH", own, port, 8, 0))
    packet = ip(1 if version == 4 else 58, target, target, unreachable(version, 3 if version == 4 else 4, inner))
    assert witness.refused(packet) == (witness.UDP, str(target), port, own)
    assert witness.refused(ip(1 if version == 4 else 58, target, target, unreachable(version, 1, inner))) is None


@given(st.binary(max_size=witness.LONGEST), st.sampled_from([b"", b"\x45", b"\x60", b"\x4f"]))
def test_any_bytes(data: bytes, head: bytes) -> None:
    """Whatever a packet holds, it is one attempt or none."""
    found = witness.refused(head + data)
    assert found is None or (found.protocol in (6, 17) and 0 <= found.port <= 65535)


@given(ADDRESSES, st.data())
def test_cut_short(target: ipaddress.IPv4Address, data: st.DataObject) -> None:
    """A part of a packet is never read past its end."""
    version = target.version
    inner = ip(17, target, target, struct.pack(">HHHH", 1, 2, 8, 0))
    whole = ip(1 if version == 4 else 58, target, target, unreachable(version, 3 if version == 4 else 4, inner))
    witness.refused(whole[: data.draw(st.integers(0, len(whole)))])


def test_the_filter_is_a_program() -> None:
    """Every jump of it goes forward and stays inside, which the kernel demands as well."""
    lines = list(struct.iter_unpack("=HBBI", witness.program()))
    for at, (_, here, there, _) in enumerate(lines):
        assert at + 1 + max(here, there) < len(lines) or lines[at][0] == 0x06
