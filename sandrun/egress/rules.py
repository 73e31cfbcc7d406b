"""What the command may connect to, by name and by address: the grants and denials of the relay's plan.

A grant by name never reaches an address that is no ordinary place on the internet (`addresses.refusal`), unless this
address is granted itself, for the same port and protocol, or lies in `network.private`. Denials win over grants.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sandrun.egress import addresses, names

if TYPE_CHECKING:
    from sandrun.egress.addresses import Address, Network
    from sandrun.plan.format import Plan

TCP, UDP = 6, 17
PROTOCOLS = {TCP: "tcp", UDP: "udp"}


class Found(NamedTuple):
    """An address that a name has outside."""

    address: str
    own: bool
    """It is an address of this machine itself."""


class Verdict(NamedTuple):
    """Whether a target may be connected to."""

    endpoint: str
    """The grant that allows it, as in the record (`tcp:pypi.org:443`); "" = refused."""
    reason: str
    """Why it is refused (`not granted`, `denied by tcp:10.0.0.0/8:443`); "" = allowed."""
    name: bool
    """The target is a name: its addresses are still to be resolved and put through `Rules.choose`."""
    address: str
    """The canonical address to connect to, if the target is one."""


class Choice(NamedTuple):
    """Which of a name's addresses may be connected to."""

    addresses: tuple[str, ...]
    """In the resolver's order; canonical, IPv4-mapped ones as IPv4."""
    refused: tuple[tuple[str, str], ...]
    """(address, reason) of the others."""


class Rule(NamedTuple):
    """A grant or a denial."""

    text: str
    """As an endpoint is written, with its protocol."""
    protocol: int
    first: int
    last: int
    name: str
    """Canonical, or `*.` and the end of names; "" = this is no rule about names."""
    network: Network | None
    """None = this is no rule about addresses; with "" for a name, it is one about every host."""

    def fits(self, protocol: int, port: int) -> bool:
        """Whether the rule speaks of this port."""
        return self.protocol == protocol and self.first <= port <= self.last

    def any_host(self) -> bool:
        """Whether the rule speaks of every host, by whatever name or address."""
        return not self.name and self.network is None

    def covers_name(self, name: str) -> bool:
        """Whether the rule speaks of this name. `*.example.org` does not speak of `example.org`."""
        if self.name.startswith("*."):
            return len(name) > len(self.name) - 1 and name.endswith(self.name[1:])
        return self.any_host() or (bool(self.name) and name == self.name)

    def covers_address(self, address: Address) -> bool:
        """Whether the rule speaks of this address."""
        return self.any_host() or (self.network is not None and addresses.within(address, (self.network,)))


class Rules:
    """The grants and denials of one plan. Immutable."""

    def __init__(self, plan: Plan) -> None:
        """Read `relay_rules`, `relay_deny` and `relay_private`. Raises ValueError for what is not in their form."""
        self._grants = tuple(_rule(record) for record in plan.relay_rules)
        self._denials = tuple(_rule(record) for record in plan.relay_deny)
        self._private = addresses.networks(plan.relay_private)

    def tcp(self, target: str, port: int) -> Verdict:
        """Whether a TCP connection to `target` is granted: a canonical name, or the address that the command dialled."""
        return self._verdict(TCP, target, port)

    def udp(self, target: str, port: int) -> Verdict:
        """The same for UDP."""
        return self._verdict(UDP, target, port)

    def choose(self, protocol: int, name: str, port: int, found: tuple[Found, ...]) -> Choice:
        """Which addresses of a name, for which `tcp` or `udp` gave an endpoint, may be connected to on this port.

        What a grant of every host covers is not held to ordinary places, only to the denials.
        """
        grants = tuple(rule for rule in self._grants if rule.fits(protocol, port))
        every_host = any(rule.any_host() for rule in grants)
        granted = self._private + tuple(rule.network for rule in grants if rule.network is not None)
        allowed: list[str] = []
        refused: list[tuple[str, str]] = []
        for text, own in found:
            try:
                address = addresses.parse(text)
            except ValueError:
                refused.append((text, "link-local" if "%" in text else "not an address"))
                continue
            reason = self._denied_address(protocol, address, port)
            if not reason and not every_host:
                reason = addresses.refusal(address, granted)
                if not reason and own and not addresses.within(address, granted):
                    reason = "an address of this machine"
            if reason:
                refused.append((str(address), reason))
            elif str(address) not in allowed:
                allowed.append(str(address))
        return Choice(tuple(allowed), tuple(refused))

    def allows_name(self, name: str) -> bool:
        """Whether some port of this name is granted, so that the responder may give it an address."""
        return any(rule.covers_name(name) and not self._wholly_denied(rule, name) for rule in self._grants)

    def _verdict(self, protocol: int, target: str, port: int) -> Verdict:
        try:
            address = addresses.parse(target)
        except ValueError:
            denial = self._denied_name(protocol, target, port)
            grants = (rule for rule in self._grants if rule.fits(protocol, port) and rule.covers_name(target))
            return _verdict(denial, grants_text=next((rule.text for rule in grants), ""), name=True)
        denial = self._denied_address(protocol, address, port)
        if address.version == 4 and names.in_pool(int(address)):
            denial = "no name has this address"
        grants = (rule for rule in self._grants if rule.fits(protocol, port) and rule.covers_address(address))
        return _verdict(denial, grants_text=next((rule.text for rule in grants), ""), address=str(address))

    def _denied_name(self, protocol: int, name: str, port: int) -> str:
        for rule in self._denials:
            if rule.fits(protocol, port) and rule.covers_name(name):
                return f"denied by {rule.text}"
        return ""

    def _denied_address(self, protocol: int, address: Address, port: int) -> str:
        """A denial counts for an address in every form: as it is, and as what it carries within."""
        for rule in self._denials:
            if rule.fits(protocol, port) and any(map(rule.covers_address, addresses.meanings(address))):
                return f"denied by {rule.text}"
        return ""

    def _wholly_denied(self, grant: Rule, name: str) -> bool:
        return any(
            rule.protocol == grant.protocol
            and rule.first <= grant.first
            and grant.last <= rule.last
            and rule.covers_name(name)
            for rule in self._denials
        )


def _verdict(denial: str, *, grants_text: str, name: bool = False, address: str = "") -> Verdict:
    reason = denial or ("" if grants_text else "not granted")
    return Verdict("" if reason else grants_text, reason, name, address)


def _rule(record: tuple[int, int, bytes, bytes]) -> Rule:
    """A rule of the plan. Raises ValueError: a relay that guessed what a rule means would be an open one."""
    protocol, ports, kind, raw = record
    first, last, host = ports >> 16, ports & 0xFFFF, raw.decode("ascii")
    if protocol not in PROTOCOLS or first > last or ports >> 32:
        raise ValueError(f"not a rule: {record!r}")
    name, network, shown = "", None, host
    if kind == b"any" and not host:
        shown = ""
    elif kind == b"name" and host.removeprefix("*."):
        name = host
    elif kind == b"address":
        address = addresses.parse(host)
        (network,) = addresses.networks((str(address).encode(),))
        shown = f"[{address}]" if address.version == 6 else str(address)
    elif kind == b"cidr":
        (network,) = addresses.networks((raw,))
        shown = f"[{network}]" if network.version == 6 else str(network)
    else:
        raise ValueError(f"not a rule: {record!r}")
    ports_text = "*" if (first, last) == (0, 65535) else str(first) if first == last else f"{first}-{last}"
    return Rule(
        f"{PROTOCOLS[protocol]}:{shown}{':' if shown else ''}{ports_text}", protocol, first, last, name, network
    )
