"""Which addresses are ordinary places on the internet, whatever form they come in.

Pure. The answer does not depend on the `ipaddress` tables of the running Python, which differ between its versions.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


def parse(text: str) -> Address:
    """The address that the text spells, an IPv4-mapped one as IPv4. Raises ValueError; a zone (`%eth0`) is one."""
    raise NotImplementedError


def networks(texts: tuple[bytes, ...]) -> tuple[Network, ...]:
    """The networks of a plan's texts. Raises ValueError."""
    raise NotImplementedError


def meanings(address: Address) -> tuple[Address, ...]:
    """The address and those that it carries within: IPv4-mapped, NAT64, 6to4 and Teredo (RFC 4291, 6052, 3056, 4380)."""
    raise NotImplementedError


def within(address: Address, ranges: tuple[Network, ...]) -> bool:
    """Whether one of the networks contains the address."""
    raise NotImplementedError


def refusal(address: Address, granted: tuple[Network, ...] = ()) -> str:
    """Why a name must not lead to this address, in a few words (`loopback`, `private`); "" = it may.

    Only globally routable unicast is an ordinary place; the networks `granted` are places besides.
    """
    raise NotImplementedError
