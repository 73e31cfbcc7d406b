"""Hosts by address where no namespace can be had: the supervisor makes the connections (`sandrun.connector`).

The fallback for what `egress` cannot have. It knows TCP and addresses only, and it decides about connect(2), so nothing
may be granted that it would have to let pass unseen.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TYPE_CHECKING, NamedTuple

from sandrun.plan.egress import HOSTS, is_every_port, is_moot, protocols, why_not
from sandrun.policy import guards, syscalls
from sandrun.primitives import caps, notify
from sandrun.primitives.seccomp_compile import AUDIT_ARCHES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sandrun.kernel import Kernel
    from sandrun.plan.draft import Draft
    from sandrun.profile.model import Endpoint, Value

    Rule = tuple[int, int, bytes, bytes]

KEY = "network.connect"
SYS_PTRACE = caps.mask(("CAP_SYS_PTRACE",))
ANY_PORT = (0, 65535)
_V4, _V6 = 32, 128
_NAT64 = 0x64FF9B << 96
_LOCAL_NAT64 = 0x64FF9B0001 << 80
_SIX_TO_FOUR, _TEREDO = 0x2002 << 112, 0x20010000 << 96
_ALL = (1 << 128) - 1


class Broker(NamedTuple):
    """What the supervisor connects to; the rules are as in the Plan, `endpoints` the canonical spellings."""

    rules: tuple[Rule, ...]
    denied: tuple[Rule, ...]
    endpoints: tuple[str, ...]


def resolve_broker(draft: Draft, kernel: Kernel) -> None:
    """Set `draft.broker` and its fields, if hosts are asked for that take it and can have it; `draft.no_broker` is why
    they cannot. Call where the profile wants hosts and `resolve_egress` has no relay, after the ids are known."""
    if not why_not(draft, kernel):
        return
    granted = [_endpoint(value) for value in draft.profile.items(KEY)]
    if not any(_is_served(endpoint) and not is_moot(endpoint, granted) for endpoint in granted):
        return
    draft.no_broker = _why_no_broker(draft, kernel, granted)
    if draft.no_broker:
        return
    rules: dict[Rule, None] = {}
    endpoints = []
    for value, endpoint in zip(draft.profile.items(KEY), granted, strict=True):
        if _fits(draft, value, endpoint, granted):
            rules.update(dict.fromkeys(_rules(endpoint)))
            endpoints.append(endpoint.text)
    draft.broker = Broker(tuple(rules), tuple(_denied(draft)), tuple(endpoints))
    draft.fields.update(
        broker_filter=notify.connect_filter(kernel.arch),
        broker_rules=draft.broker.rules,
        broker_deny=draft.broker.denied,
    )
    draft.guards.extend(guards.source_routes(KEY))


def _endpoint(value: Value) -> Endpoint:
    return value.value  # type: ignore[return-value]


def _is_served(endpoint: Endpoint) -> bool:
    """Whether the broker is what it takes, or what it knows besides: addresses, and ports of every host, by TCP."""
    return endpoint.kind in ("address", "cidr", "any") and protocols(endpoint) == ("tcp",)


def _why_no_broker(draft: Draft, kernel: Kernel, granted: list[Endpoint]) -> str:
    """Why the supervisor cannot make the connections, for the end of a sentence; "" if it can."""
    fields = draft.fields
    beside = next((one.text for one in granted if "udp" in protocols(one) and one.kind in ("any", "all")), "")
    if kernel.broker:
        return kernel.broker
    if not kernel.seccomp_filter or kernel.arch not in AUDIT_ARCHES or kernel.arch not in syscalls.ARCHES:
        return "system calls cannot be filtered here"
    if beside:
        return f"{beside} grants UDP, which is connected by the same call"
    for key in ("network.unix", "network.families"):
        if draft.profile.items(key):
            return f"{key} opens sockets that are connected by the same call"
    if fields.get("uid", -1) not in (-1, kernel.uid) and not kernel.capabilities & SYS_PTRACE:
        return "looking into a command of another user takes CAP_SYS_PTRACE"
    return ""


def _fits(draft: Draft, value: Value, endpoint: Endpoint, granted: list[Endpoint]) -> bool:
    """Whether this endpoint is among the broker's; those of other kinds are for `network` to judge."""
    if not _is_served(endpoint):
        return False
    if endpoint.kind in HOSTS and is_moot(endpoint, granted):
        return False
    if endpoint.kind in HOSTS and (endpoint.first_port, endpoint.last_port) == ANY_PORT:
        lost = f"{endpoint.text}: every port of one host cannot be granted"
        draft.refuse(value.origin, lost, f"name the ports: {endpoint.text}:443")
        return False
    return not is_every_port(endpoint)


def _rules(endpoint: Endpoint) -> Iterator[Rule]:
    ports = endpoint.first_port << 16 | endpoint.last_port
    text = endpoint.text if endpoint.protocol else f"tcp:{endpoint.text}"
    for network, mask, width in _spans(endpoint):
        size = width // 8
        yield ports, 0, network.to_bytes(size) + mask.to_bytes(size), text.encode("ascii")


def _spans(endpoint: Endpoint) -> Iterator[tuple[int, int, int]]:
    """(network, mask, width in bits) of the addresses that an endpoint names."""
    if endpoint.kind in ("any", "all"):
        yield 0, 0, _V4
        yield 0, 0, _V6
        return
    network = _network(endpoint)
    yield int(network.network_address), int(network.netmask), network.max_prefixlen


def _network(endpoint: Endpoint) -> IPv4Network | IPv6Network:
    """IPv4-mapped networks as IPv4, which is how the broker meets their addresses."""
    network = ip_network(endpoint.host)
    mapped = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
    return ip_network((int(mapped), network.prefixlen - 96)) if mapped and network.prefixlen >= 96 else network


def _denied(draft: Draft) -> Iterator[Rule]:
    """What no grant opens. A denied IPv4 network is denied in every form that carries it, too."""
    for value in draft.profile.items("network.deny"):
        endpoint = _endpoint(value)
        if endpoint.protocol == "udp" or endpoint.kind not in ("address", "cidr", "any"):
            continue
        plain = tuple(_rules(endpoint))
        yield from plain
        if endpoint.kind != "any" and isinstance(network := _network(endpoint), IPv4Network):
            ports, _, _, text = plain[0]
            for number, mask in _carried(int(network.network_address), int(network.netmask)):
                yield ports, 0, number.to_bytes(16) + mask.to_bytes(16), text


def _carried(number: int, mask: int) -> Iterator[tuple[int, int]]:
    """The IPv6 addresses that carry these IPv4 ones: NAT64, 6to4, Teredo's servers and clients (see `egress.addresses`)."""
    yield _NAT64 | number, _prefix(96) | mask
    yield _LOCAL_NAT64 | number, _prefix(48) | mask
    yield _SIX_TO_FOUR | number << 80, _prefix(16) | mask << 80
    yield _TEREDO | number << 64, _prefix(32) | mask << 64
    yield _TEREDO | (~number & mask), _prefix(32) | mask


def _prefix(length: int) -> int:
    return _ALL ^ (_ALL >> length)
