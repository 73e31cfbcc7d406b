"""Which addresses a name may lead to: ordinary places on the internet, in whatever form they are written."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandrun.egress import addresses
from sandrun.egress.addresses import networks, parse, refusal

REFUSED = {
    "0.0.0.0": "this host",
    "0.1.2.3": "this host",
    "10.1.2.3": "private",
    "100.64.0.1": "shared address space",
    "100.100.100.200": "shared address space",  # a cloud's metadata service
    "127.0.0.1": "loopback",
    "127.96.0.1": "loopback",
    "168.63.129.16": "metadata service",
    "169.254.169.254": "metadata service",
    "169.254.1.1": "link-local",
    "172.16.0.1": "private",
    "172.31.255.255": "private",
    "192.0.0.192": "reserved",  # a cloud's metadata service
    "192.0.2.1": "documentation",
    "192.168.1.1": "private",
    "198.19.0.1": "benchmarking",
    "203.0.113.80": "documentation",
    "224.0.0.1": "multicast",
    "239.255.255.255": "multicast",
    "240.0.0.1": "reserved",
    "255.255.255.255": "broadcast",
    "::": "this host",
    "::1": "loopback",
    "::7f00:1": "reserved",  # IPv4-compatible
    "::ffff:0:7f00:1": "reserved",  # IPv4-translated
    "fc00::1": "private",
    "fd00:ec2::254": "metadata service",
    "fe80::1": "link-local",
    "fec0::1": "private",
    "ff02::1": "multicast",
    "100::1": "reserved",
    "2001:2::1": "reserved",
    "2001:20::1": "reserved",
    "2001:db8::1": "documentation",
    "3fff::1": "documentation",
    "4000::1": "reserved",
    "5f00::1": "reserved",
    "64:ff9b:1::808:808": "reserved",
    # within others
    "::ffff:127.0.0.1": "loopback",
    "::ffff:169.254.169.254": "metadata service",
    "64:ff9b::7f00:1": "loopback, as 127.0.0.1",
    "64:ff9b::a9fe:a9fe": "metadata service, as 169.254.169.254",
    "2002:7f00:1::1": "loopback, as 127.0.0.1",
    "2002:a00:1::": "private, as 10.0.0.1",
    "2001:0:a00:1::f7f7:f7f7": "private, as 10.0.0.1",  # the Teredo server
    "2001:0:808:808::80ff:fffe": "loopback, as 127.0.0.1",  # the Teredo client
}
ORDINARY = (
    "1.1.1.1",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.1",
    "172.15.255.255",
    "172.32.0.0",
    "192.167.255.255",
    "192.169.0.0",
    "223.255.255.255",
    "2001:200::1",
    "2606:4700::1111",
    "2a00:1450:4001:80b::200e",
    "64:ff9b::808:808",
    "2002:808:808::1",
    "2001:0:808:808::f7f7:f7f7",
)


@pytest.mark.parametrize(("text", "reason"), REFUSED.items())
def test_other_places_are_refused(text: str, reason: str) -> None:
    """Nothing but globally routable unicast passes, and the reason names the kind."""
    assert refusal(parse(text)) == reason


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_places_pass(text: str) -> None:
    """Public addresses on both sides of the borders pass."""
    assert refusal(parse(text)) == ""


@pytest.mark.parametrize(
    "text", ["fe80::1%eth0", "127.1", "0x7f.0.0.1", "010.0.0.1", "2130706433", "", "::ffff:1", "x"]
)
def test_odd_spellings_are_no_addresses(text: str) -> None:
    """What only some resolvers read as an address is none here; an address with a zone is none either."""
    if text == "::ffff:1":
        assert refusal(parse(text)) == "reserved"
        return
    with pytest.raises(ValueError):
        parse(text)


def test_granted_networks_are_places_besides() -> None:
    """A network of `private` opens itself and nothing else; within a form that carries it, too."""
    private = networks((b"10.0.0.0/8", b"fd00::/8"))
    assert refusal(parse("10.9.9.9"), private) == ""
    assert refusal(parse("fd12::1"), private) == ""
    assert refusal(parse("64:ff9b::a00:1"), private) == ""
    assert refusal(parse("192.168.0.1"), private) == "private"
    assert refusal(parse("127.0.0.1"), private) == "loopback"


def test_a_wrapper_granted_does_not_open_what_it_carries() -> None:
    """The network of NAT64 or 6to4 in `private` does not lead to loopback."""
    private = networks((b"64:ff9b::/96", b"64:ff9b:1::/48", b"2002::/16", b"2001::/32"))
    assert refusal(parse("64:ff9b::7f00:1"), private) == "loopback, as 127.0.0.1"
    assert refusal(parse("64:ff9b:1::7f00:1"), private) == "loopback, as 127.0.0.1"
    assert refusal(parse("2002:7f00:1::1"), private) == "loopback, as 127.0.0.1"
    assert refusal(parse("64:ff9b:1::808:808"), private) == ""


def test_mapped_networks_are_those_of_ipv4() -> None:
    """A range written in IPv4-mapped form means the addresses that `parse` makes of its members."""
    assert networks((b"::ffff:10.0.0.0/104",)) == networks((b"10.0.0.0/8",))
    assert refusal(parse("::ffff:10.0.0.1"), networks((b"::ffff:10.0.0.0/104",))) == ""


@given(st.integers(0, 2**32 - 1))
def test_every_form_of_an_address_is_as_good_as_the_address(number: int) -> None:
    """IPv4-mapped, NAT64 and 6to4 forms are refused exactly if the IPv4 address within is."""
    plain = refusal(IPv4Address(number))
    forms = ((0xFFFF << 32) | number, (0x64FF9B << 96) | number, (0x2002 << 112) | number << 80)
    for form in forms:
        assert bool(refusal(IPv6Address(form))) == bool(plain)


@given(st.ip_addresses(v=4))
def test_no_laxer_than_python(address: IPv4Address) -> None:
    """Whatever Python's own table calls private, loopback, link-local, multicast or reserved is refused."""
    marks = (address.is_private, address.is_loopback, address.is_link_local, address.is_multicast, address.is_reserved)
    anycast = address in (IPv4Address("192.0.0.9"), IPv4Address("192.0.0.10"))
    if any(marks) and not anycast:
        assert refusal(address)


@given(st.integers(0, 2**128 - 1).map(IPv6Address))
def test_ipv6_passes_only_where_addresses_are_given_out(address: IPv6Address) -> None:
    """Outside 2000::/3 only NAT64 passes."""
    if not refusal(address):
        assert address in addresses.GLOBAL_V6 or address in addresses.NAT64 or address in addresses.MAPPED


@given(st.integers(0, 2**125 - 1).map(lambda low: IPv6Address((1 << 125) | low)))
def test_no_laxer_than_python_in_2000(address: IPv6Address) -> None:
    """In 2000::/3 what Python calls private is refused; forms that carry IPv4 are judged by that."""
    carrying = address in addresses.SIX_TO_FOUR or address in addresses.TEREDO
    if address.is_private and not carrying:
        assert refusal(address)
