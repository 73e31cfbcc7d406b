"""The grammar of network endpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sandrun.profile.bad import Bad
from sandrun.profile.endpoints import covers, parse, parse_network

if TYPE_CHECKING:
    import ipaddress


@pytest.mark.parametrize(
    ("text", "canonical", "kind", "protocol", "host", "ports"),
    [
        ("*", "*", "all", "", "", (0, 65535)),
        ("@all", "*", "all", "", "", (0, 65535)),
        ("@dns", "@dns", "group", "", "@dns", (0, 65535)),
        ("tcp:443", "tcp:443", "any", "tcp", "", (443, 443)),
        ("tcp:*:443", "tcp:443", "any", "tcp", "", (443, 443)),
        ("udp:*", "udp:*", "any", "udp", "", (0, 65535)),
        ("*:53", "*:53", "any", "", "", (53, 53)),
        ("tcp:8000-9000", "tcp:8000-9000", "any", "tcp", "", (8000, 9000)),
        ("example.org", "example.org", "name", "", "example.org", (0, 65535)),
        ("Example.ORG.:443", "example.org:443", "name", "", "example.org", (443, 443)),
        ("tcp:example.org:1-5", "tcp:example.org:1-5", "name", "tcp", "example.org", (1, 5)),
        ("*.example.org:443", "*.example.org:443", "name", "", "*.example.org", (443, 443)),
        ("my_service:80", "my_service:80", "name", "", "my_service", (80, 80)),
        ("münchen.de", "xn--mnchen-3ya.de", "name", "", "xn--mnchen-3ya.de", (0, 65535)),
        ("127.0.0.1:8080", "127.0.0.1:8080", "address", "", "127.0.0.1", (8080, 8080)),
        ("\uff11\uff12\uff17.0.0.1", "127.0.0.1", "address", "", "127.0.0.1", (0, 65535)),
        ("10.0.0.0/8", "10.0.0.0/8", "cidr", "", "10.0.0.0/8", (0, 65535)),
        ("10.1.2.3/32:80", "10.1.2.3:80", "address", "", "10.1.2.3", (80, 80)),
        ("[::1]:80", "[::1]:80", "address", "", "::1", (80, 80)),
        ("[2001:DB8:0::1]", "[2001:db8::1]", "address", "", "2001:db8::1", (0, 65535)),
        ("udp:[2001:db8::/32]:53", "udp:[2001:db8::/32]:53", "cidr", "udp", "2001:db8::/32", (53, 53)),
        ("[2001:db8::]/32:53", "[2001:db8::/32]:53", "cidr", "", "2001:db8::/32", (53, 53)),
    ],
)
def test_what_is_an_endpoint(
    text: str, canonical: str, kind: str, protocol: str, host: str, ports: tuple[int, int]
) -> None:
    """Each accepted spelling has one canonical form, which is read as itself."""
    endpoint = parse(text)
    assert endpoint == (canonical, kind, protocol, host, *ports)
    assert parse(canonical) == endpoint


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("", 'not an endpoint: ""', "write HOST:PORT, tcp:PORT, an address or *"),
        ("a b", 'not an endpoint: "a b"', "write HOST:PORT, tcp:PORT, an address or *"),
        ("a\nb", 'not an endpoint: "a\\nb"', "write HOST:PORT, tcp:PORT, an address or *"),
        ("tcp", '"tcp": a protocol alone', 'every TCP port is "tcp:*"'),
        ("TCP:443", '"TCP:443": protocols are written in lower case', "did you mean tcp:443?"),
        ("@tls", 'unknown endpoint group "@tls"', "one of @dns, @all"),
        ("https://example.org/x", '"https://example.org/x": an endpoint is not a URL', 'did you mean "example.org"?'),
        ("443", '"443": not an IPv4 address in its usual spelling', "a port alone is tcp:443"),
        ("127.1", '"127.1": not an IPv4 address in its usual spelling', "did you mean 127.0.0.1?"),
        ("0x7f.1", '"0x7f.1": not an IPv4 address in its usual spelling', "did you mean 127.0.0.1?"),
        ("010.0.0.1", '"010.0.0.1": not an IPv4 address in its usual spelling', "did you mean 8.0.0.1?"),
        ("2130706433:80", '"2130706433:80": not an IPv4 address in its usual spelling', "did you mean 127.0.0.1?"),
        (
            "evil.0x7f",
            '"evil.0x7f": not an IPv4 address in its usual spelling',
            "an address is four numbers, 0 to 255: 192.0.2.1",
        ),
        (
            "1.2.3.256",
            '"1.2.3.256": not an IPv4 address in its usual spelling',
            "an address is four numbers, 0 to 255: 192.0.2.1",
        ),
        ("10.0.0.1/8", '"10.0.0.1/8": the address has bits behind the prefix', "did you mean 10.0.0.0/8?"),
        ("10.0.0.0/33", '"10.0.0.0/33": the prefix length is 0 to 32', None),
        (
            "[2001:db8::1/32]",
            '"[2001:db8::1/32]": the address has bits behind the prefix',
            "did you mean 2001:db8::/32?",
        ),
        ("::1", '"::1": an IPv6 address stands in brackets', "write [ADDRESS] or [ADDRESS]:PORT"),
        ("[::1", '"[::1": nothing closes "["', None),
        ("[fe80::1%eth0]", '"[fe80::1%eth0]": an address with a zone is not supported', None),
        ("[::ffff:1.2.3.4]:5", '"[::ffff:1.2.3.4]:5": an IPv4 address in IPv6 spelling', "did you mean 1.2.3.4?"),
        ("[127.0.0.1]", '"[127.0.0.1]": not an IPv6 address or network', None),
        ("straße.de", '"straße.de": a letter that standards map to different names', "write the name as xn--…"),
        ("a.*.org", '"a.*.org": a wildcard stands for whole names at the start', 'as in "*.example.org"'),
        ("-a.org", '"-a.org": not a host name', None),
        ("a..org", '"a..org": not a host name', None),
        ("user@host", '"user@host": not a host name', None),
        ("tcp:0", '"tcp:0": ports are 1 to 65535', "leave the port out for every port"),
        ("a.org:65536", '"a.org:65536": ports are 1 to 65535', None),
        ("a.org:0443", '"a.org:0443": not a port: "0443"', "write a number, 1 to 65535, or FIRST-LAST"),
        ("a.org:https", '"a.org:https": not a port: "https"', "write a number, 1 to 65535, or FIRST-LAST"),
        ("a.org:", '"a.org:": not a port: ""', "write a number, 1 to 65535, or FIRST-LAST"),
        ("tcp:90-80", '"tcp:90-80": the range of ports runs backwards', "did you mean 80-90?"),
    ],
)
def test_what_is_no_endpoint(text: str, message: str, hint: str | None) -> None:
    """Odd spellings that resolvers read differently, and everything else, are refused with what to write."""
    with pytest.raises(Bad) as caught:
        parse(text)
    assert (caught.value.message, caught.value.hint) == (message, hint)


@pytest.mark.parametrize("text", ["tcp:8080", "127.0.0.1:8080", "[::1]:80", "udp:*", "*", "tcp:0", "127.0.0.1:0"])
def test_connections_are_accepted_on_addresses(text: str) -> None:
    """`bind` takes addresses and any port, 0 too (a port of the kernel's choice)."""
    assert parse(text, bind=True).text == text


@pytest.mark.parametrize("text", ["localhost:80", "*.example.org", "10.0.0.0/8:80", "@dns", "tcp:0-80"])
def test_connections_are_not_accepted_on_names(text: str) -> None:
    """`bind` refuses names, networks and groups."""
    with pytest.raises(Bad):
        parse(text, bind=True)


@given(st.ip_addresses())
def test_every_address_is_an_endpoint(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    """The library's spelling of any address is ours, except IPv4 in IPv6 clothes."""
    if address.version == 6 and address.ipv4_mapped is not None:
        return
    text = f"[{address}]" if address.version == 6 else str(address)
    assert parse(text + ":1")[:4] == (text + ":1", "address", "", str(address))
    assert parse_network(str(address)) == str(address)


PARTS = ["tcp", "UDP", "Tcp", ":", "*", ".", "443", "1-5", "a", "[", "]", "::1", "10.0.0.0", "/8", "@", "-", "x--"]


@given(st.one_of(st.text(max_size=30), st.lists(st.sampled_from(PARTS), max_size=6).map("".join)))
@example("TCP")
@example("tcp.")
@example("UDP.:53")
def test_no_text_does_more_than_be_refused(text: str) -> None:
    """Whatever is written, there is an endpoint with a fixed canonical form, or Bad."""
    try:
        endpoint = parse(text)
    except Bad:
        return
    assert parse(endpoint.text) == endpoint


@pytest.mark.parametrize(
    ("wide", "narrow", "answer"),
    [
        ("*", "tcp:443", True),
        ("tcp:443", "*", False),
        ("tcp:443", "example.org:443", False),
        ("tcp:443", "tcp:example.org:443", True),
        ("*:443", "tcp:443", True),
        ("tcp:*", "tcp:1-5", True),
        ("tcp:1-5", "tcp:3", True),
        ("tcp:3", "tcp:1-5", False),
        ("*.example.org", "a.example.org:443", True),
        ("*.example.org", "example.org", False),
        ("10.0.0.0/8", "10.1.0.0/16:80", True),
        ("10.0.0.0/8", "11.0.0.1", False),
        ("10.0.0.0/8", "[::1]", False),
        ("[2001:db8::/32]", "[2001:db8::1]", True),
        ("example.org", "@dns", False),
        ("example.org", "tcp:example.org:443", True),
        ("example.org", "udp:example.org:443", False),
    ],
)
def test_covering(wide: str, narrow: str, answer: bool) -> None:
    """`covers` is true where the first endpoint allows all of the second, and only there."""
    assert covers(parse(wide), parse(narrow)) is answer
