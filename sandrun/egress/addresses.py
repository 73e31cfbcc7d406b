"""Which addresses are ordinary places on the internet, whatever form they come in.

Pure. The answer does not depend on the tables in the running Python's `ipaddress`, which differ between its versions.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

NO_PLACE: tuple[tuple[Network, str], ...] = tuple(
    (ip_network(text), reason)
    for text, reason in (
        # The special-purpose address registries of IANA, without the few entries there that are globally reachable,
        # since those are anycast services of the network itself. The first network that contains an address counts.
        ("0.0.0.0/8", "this host"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "shared address space"),
        ("127.0.0.0/8", "loopback"),
        ("169.254.169.254/32", "metadata service"),
        ("169.254.0.0/16", "link-local"),
        ("168.63.129.16/32", "metadata service"),  # of one cloud, in its public addresses but never routed
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved"),
        ("192.0.2.0/24", "documentation"),
        ("192.88.99.0/24", "reserved"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "benchmarking"),
        ("198.51.100.0/24", "documentation"),
        ("203.0.113.0/24", "documentation"),
        ("224.0.0.0/4", "multicast"),
        ("255.255.255.255/32", "broadcast"),
        ("240.0.0.0/4", "reserved"),
        ("::/128", "this host"),
        ("::1/128", "loopback"),
        ("fd00:ec2::254/128", "metadata service"),
        ("fc00::/7", "private"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "private"),
        ("ff00::/8", "multicast"),
        ("2001::/23", "reserved"),
        ("2001:db8::/32", "documentation"),
        ("3fff::/20", "documentation"),
    )
)
GLOBAL_V6 = IPv6Network("2000::/3")
"""The only part of IPv6 from which global unicast addresses are given out (RFC 4291)."""

MAPPED = IPv6Network("::ffff:0:0/96")
NAT64 = IPv6Network("64:ff9b::/96")
LOCAL_NAT64 = IPv6Network("64:ff9b:1::/48")
SIX_TO_FOUR = IPv6Network("2002::/16")
TEREDO = IPv6Network("2001::/32")
UNSPECIFIED: tuple[tuple[Address, Address], ...] = (
    (IPv4Address(0), IPv4Address("127.0.0.1")),
    (IPv6Address(0), IPv6Address("::1")),
)
"""Each with what the kernel connects to instead (ip(7))."""


def parse(text: str) -> Address:
    """The address that the text spells, an IPv4-mapped one as IPv4. Raises ValueError; a zone (`%eth0`) is one."""
    if "%" in text:
        raise ValueError(f"an address with a zone: {text!r}")
    address = ip_address(text)
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def networks(texts: tuple[bytes, ...]) -> tuple[Network, ...]:
    """The networks of a plan's texts, IPv4-mapped ones as IPv4, as `parse` has it. Raises ValueError."""
    return tuple(_network(text.decode("ascii")) for text in texts)


def meanings(address: Address) -> tuple[Address, ...]:
    """The address and those that it carries within: IPv4-mapped, NAT64, 6to4 and Teredo (RFC 4291, 6052, 8215, 3056,
    4380). Of no address in particular, the loopback interface's."""
    return address, *_carried(address), *(loopback for none, loopback in UNSPECIFIED if address == none)


def within(address: Address, ranges: tuple[Network, ...]) -> bool:
    """Whether one of the networks contains the address."""
    return any(address.version == network.version and address in network for network in ranges)


def refusal(address: Address, granted: tuple[Network, ...] = ()) -> str:
    """Why a name must not lead to this address, in a few words (`loopback`, `private`); "" = it may.

    Only globally routable unicast is an ordinary place; the networks `granted` are places besides. An address that
    carries others is as good as the worst of them.
    """
    carried = _carried(address)
    if not carried or address in LOCAL_NAT64:
        reason = _refusal(address, granted)
        if reason:
            return reason
    for inner in carried:
        reason = _refusal(inner, granted)
        if reason:
            return f"{reason}, as {inner}"
    return ""


def _network(text: str) -> Network:
    network = ip_network(text)
    if isinstance(network, IPv6Network) and network.subnet_of(MAPPED):
        return IPv4Network((int(network.network_address) & 0xFFFFFFFF, network.prefixlen - 96))
    return network


def _refusal(address: Address, granted: tuple[Network, ...]) -> str:
    if within(address, granted):
        return ""
    for network, reason in NO_PLACE:
        if address.version == network.version and address in network:
            return reason
    return "reserved" if isinstance(address, IPv6Address) and address not in GLOBAL_V6 else ""


def _carried(address: Address) -> tuple[IPv4Address, ...]:
    if isinstance(address, IPv4Address):
        return ()
    number = int(address)
    last = IPv4Address(number & 0xFFFFFFFF)
    if address in MAPPED or address in NAT64 or address in LOCAL_NAT64:
        return (last,)
    if address in SIX_TO_FOUR:
        return (IPv4Address(number >> 80 & 0xFFFFFFFF),)
    if address in TEREDO:  # its server, and the client's address in ones' complement
        return IPv4Address(number >> 64 & 0xFFFFFFFF), IPv4Address(~number & 0xFFFFFFFF)
    return ()
