"""What the command may connect to, by name and by address: the grants and denials of the relay's plan.

A grant by name never reaches an address that is no ordinary place on the internet (`addresses.refusal`), unless this
address is granted itself, for the same port and protocol, or lies in `network.private`. Denials win over grants.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from sandrun.plan.format import Plan

TCP, UDP = 6, 17


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


class Rules:
    """The grants and denials of one plan. Immutable."""

    def __init__(self, plan: Plan) -> None:
        """Read `relay_rules`, `relay_deny` and `relay_private`. Raises ValueError for what is not in their form."""
        raise NotImplementedError

    def tcp(self, target: str, port: int) -> Verdict:
        """Whether a TCP connection to `target` is granted: a canonical name, or the address that the command dialled."""
        raise NotImplementedError

    def udp(self, target: str, port: int) -> Verdict:
        """The same for UDP."""
        raise NotImplementedError

    def choose(self, protocol: int, name: str, port: int, found: tuple[Found, ...]) -> Choice:
        """Which addresses of a name, for which `tcp` or `udp` gave an endpoint, may be connected to on this port."""
        raise NotImplementedError

    def allows_name(self, name: str) -> bool:
        """Whether some port of this name is granted, so that the responder may give it an address."""
        raise NotImplementedError
