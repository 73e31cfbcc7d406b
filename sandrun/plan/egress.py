"""Hosts by name, address and network: what the relay lets through, and what the namespace of the command has for it.

Landlock knows ports only. So where a profile names hosts, the command gets a network namespace that holds nothing but
a loopback interface, every address leads there, and the relay outside serves what arrives on the ports of the grants.
"""

from __future__ import annotations

from sandrun.named import NamedTuple
from sandrun.plan.namespaces import missing, use
from sandrun.primitives.namespaces import KINDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from sandrun.host import Host
    from sandrun.kernel import Kernel
    from sandrun.plan.draft import Draft
    from sandrun.profile.model import Endpoint, Profile, Value

    Rule = tuple[int, int, bytes, bytes]

HOSTS = ("name", "address", "cidr")
"""The kinds of endpoints that only a relay can tell apart."""
NUMBERS = {"tcp": 6, "udp": 17}
"""IPPROTO_TCP and IPPROTO_UDP of ip(7)."""
ANY_PORT = (0, 65535)
DNS_PORT = 53
"""Taken in the namespace, by the relay's answers to lookups."""
LOOPBACK = ("127.0.0.1", "::1")
MOST_LISTENING = 1024
"""Each is a socket, and descriptors are passed one by one."""
MOST_NAMES = 4096
MOST_PUBLISHED = 64
FIRST_NAME = 127 << 24 | 64 << 16 | 1 << 8 | 1
"""127.64.1.1, the address of the first name in the namespace; the others follow. 127.64.0.0/10 is kept for names."""
NEEDED = KINDS["net"] | KINDS["mount"]
"""The mount namespace is for the files that say where names are looked up."""
BESIDE_HOSTS = "cannot stand beside hosts, which a relay on single ports keeps apart"


class Egress(NamedTuple):
    """What the relay serves. `listen` and `publish` are as in the Plan, `endpoints` the canonical spellings."""

    rules: tuple[Rule, ...] = ()
    denied: tuple[Rule, ...] = ()
    listen: tuple[tuple[int, int], ...] = ()
    names: tuple[str, ...] = ()
    """The names that have an address from the start, in the order of these; wildcards get theirs when asked for."""
    publish: tuple[tuple[int, int], ...] = ()
    endpoints: tuple[str, ...] = ()


def wanted(profile: Profile) -> bool:
    """Whether something is asked for that takes a relay: a host, granted or denied, or a loopback beside the world."""
    if any(_endpoint(value).kind == "all" for value in profile.items("network.deny")):
        return False
    granted = [_endpoint(value) for value in profile.items("network.connect")]
    if any(endpoint.kind in HOSTS and not is_moot(endpoint, granted) for endpoint in granted):
        return True
    if any(_endpoint(value).kind in HOSTS for value in profile.items("network.deny")):
        # Only a relay takes a host out of a port of every host.
        return bool(granted) and not any(map(is_every_port, granted))
    loopback = profile.scalar("network.loopback")
    return bool(loopback and loopback.value and (granted or profile.items("network.bind")))


def why_not(draft: Draft, kernel: Kernel) -> str:
    """Why there can be no relay for this command, "" if there can."""
    return missing(draft, kernel, NEEDED)


def resolve_egress(draft: Draft, kernel: Kernel, host: Host) -> None:
    """Set the fields of the relay, and `draft.egress`, if the profile asks for one that can be had; call before the files."""
    profile = draft.profile
    if not wanted(profile) or why_not(draft, kernel):
        return
    from sandrun.plan.relay import relay_plan  # noqa: PLC0415 (few launches need it)

    egress = _granted(draft)
    egress = egress._replace(denied=_denied(profile), publish=_published(draft, egress))
    use(draft, NEEDED)
    draft.egress = egress
    draft.fields.update(loopback=1, egress_listen=egress.listen, publish=egress.publish)
    private = tuple(str(value.value).encode() for value in profile.items("network.private"))
    own, why = relay_plan(egress, tuple(addresses(egress.names)), private, kernel, host)
    for problem in why:
        draft.lose(
            "network.connect", f"the relay cannot be confined: {problem}", 'use ports alone: --connect "tcp:443"'
        )
    draft.fields["egress"] = own.to_bytes()
    if private:
        draft.record("network.private", "relay")


def addresses(names: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """Each name with its address in the namespace; none of them ends in .0, which old programs take for a network."""
    for at, name in enumerate(names):
        yield FIRST_NAME + (at // 255 << 8) + at % 255, name


def _endpoint(value: Value) -> Endpoint:
    return value.value  # type: ignore[return-value]


def protocols(endpoint: Endpoint) -> tuple[str, ...]:
    """The protocols of an endpoint that grants: a host without one means TCP, a port without one both."""
    if endpoint.protocol:
        return (endpoint.protocol,)
    return ("tcp",) if endpoint.kind in HOSTS else tuple(NUMBERS)


def is_every_port(endpoint: Endpoint) -> bool:
    """Whether every host and every port is meant."""
    return endpoint.kind == "all" or (endpoint.kind == "any" and _span(endpoint) == ANY_PORT)


def _span(endpoint: Endpoint) -> tuple[int, int]:
    return endpoint.first_port, endpoint.last_port


def is_moot(host: Endpoint, granted: list[Endpoint]) -> bool:
    """Whether every host is granted on the ports of this one."""
    if host.kind not in HOSTS:
        return any(wide.kind == "all" for wide in granted)
    (protocol,) = protocols(host)
    return any(
        wide.kind in ("all", "any")
        and protocol in protocols(wide)
        and wide.first_port <= host.first_port
        and host.last_port <= wide.last_port
        for wide in granted
    )


def _granted(draft: Draft) -> Egress:
    """The rules of `network.connect`, with the ports to listen on and the names to give addresses to."""
    values = draft.profile.items("network.connect")
    granted = [_endpoint(value) for value in values]
    rules: dict[Rule, None] = {}
    listen: set[tuple[int, int]] = set()
    names: dict[str, None] = {}
    shown = []
    for value, endpoint in zip(values, granted, strict=True):
        if not _fits(draft, value, granted):
            continue
        for protocol in protocols(endpoint):
            rules[_rule(endpoint, protocol)] = None
            listen.update((NUMBERS[protocol], port) for port in range(endpoint.first_port, endpoint.last_port + 1))
        if endpoint.kind == "name" and endpoint.host[0] != "*":
            names[endpoint.host] = None
        shown.append(endpoint.text)
    listen -= {(number, DNS_PORT) for number in NUMBERS.values()}
    if len(listen) > MOST_LISTENING:
        draft.refuse(values[0].origin, f"more than {MOST_LISTENING} ports beside hosts", "name fewer ports")
        listen.clear()
    if len(names) > MOST_NAMES:
        draft.refuse(values[0].origin, f"more than {MOST_NAMES} host names", "use wildcards such as *.example.org:443")
    return Egress(
        rules=tuple(rules), listen=tuple(sorted(listen)), names=tuple(names)[:MOST_NAMES], endpoints=tuple(shown)
    )


def _fits(draft: Draft, value: Value, granted: list[Endpoint]) -> bool:
    """Whether the relay can serve this endpoint; what is wrong with it is noted."""
    endpoint = _endpoint(value)
    text = endpoint.text
    if is_every_port(endpoint):
        draft.refuse(value.origin, f"{text}: every port of every host {BESIDE_HOSTS}", "name the ports")
    elif endpoint.kind == "group" or (endpoint.kind == "any" and _span(endpoint) == (DNS_PORT, DNS_PORT)):
        draft.warnings.append(f"{value.origin}: {text} adds nothing: lookups of granted names are answered anyway")
    elif endpoint.kind == "any":
        return True
    elif is_moot(endpoint, granted):
        draft.warnings.append(f"{value.origin}: {text} adds nothing to a grant of every host")
    elif _span(endpoint) == ANY_PORT:
        draft.refuse(value.origin, f"{text}: every port of one host cannot be granted", f"name the ports: {text}:443")
    elif _span(endpoint) == (DNS_PORT, DNS_PORT):
        hint = "lookups of granted names are answered anyway"
        draft.refuse(value.origin, f"{text}: port {DNS_PORT} answers lookups inside and leads to no host", hint)
    elif endpoint.kind == "name" and endpoint.host.rpartition(".")[2] == "localhost":
        hint = f"127.0.0.1:{endpoint.first_port} is the host's, network.loopback one of its own"
        draft.refuse(value.origin, f"{text}: localhost is the command's own loopback interface", hint)
    elif endpoint.kind != "name" and _is_for_names(endpoint.host):
        draft.refuse(
            value.origin, f"{text}: 127.64.0.0/10 stands for names inside", "use another address of 127.0.0.0/8"
        )
    else:
        return True
    return False


def _is_for_names(host: str) -> bool:
    """Whether an address or network lies in 127.64.0.0/10."""
    address, _, length = host.partition("/")
    first, _, rest = address.partition(".")
    return first == "127" and 64 <= int(rest.partition(".")[0]) < 128 and int(length or 32) >= 10


def _rule(endpoint: Endpoint, protocol: str) -> Rule:
    first, last = _span(endpoint)
    kind = "any" if endpoint.kind == "all" else endpoint.kind
    return NUMBERS[protocol], first << 16 | last, kind.encode(), endpoint.host.encode()


def _denied(profile: Profile) -> tuple[Rule, ...]:
    """What no grant opens: of a denial without a protocol, both. Resolvers are out of reach anyway."""
    found = [_endpoint(value) for value in profile.items("network.deny")]
    return tuple(
        _rule(endpoint, protocol)
        for endpoint in found
        if endpoint.kind != "group"
        for protocol in ((endpoint.protocol,) if endpoint.protocol else tuple(NUMBERS))
    )


def _published(draft: Draft, egress: Egress) -> tuple[tuple[int, int], ...]:
    """The TCP ports of `network.bind`, which the host's loopback shows."""
    ports: set[int] = set()
    for value in draft.profile.items("network.bind"):
        endpoint = _endpoint(value)
        if is_every_port(endpoint):
            draft.warnings.append(f"{value.origin}: {endpoint.text} shows no port outside: name those that it should")
            continue
        taken = [
            port
            for protocol in protocols(endpoint._replace(kind="any"))
            for port in range(endpoint.first_port, endpoint.last_port + 1)
            if port and (port == DNS_PORT or (NUMBERS[protocol], port) in egress.listen)
        ]
        if taken:
            reason = "answers lookups inside" if taken[0] == DNS_PORT else "leads to hosts of network.connect"
            draft.refuse(value.origin, f"{endpoint.text}: port {taken[0]} {reason}", "use another port")
        elif endpoint.kind == "address" and endpoint.host not in LOOPBACK:
            lost = f"{endpoint.text}: only the host's loopback can show a port of a network namespace"
            draft.lose("network.bind", lost, f"bind 127.0.0.1:{endpoint.first_port}", requested=(str(value.origin),))
        elif endpoint.protocol == "udp":
            draft.warnings.append(f"{value.origin}: {endpoint.text} is reached by its own processes only")
        else:
            ports.update(range(max(endpoint.first_port, 1), endpoint.last_port + 1))
    for value in draft.profile.items("network.deny"):
        endpoint = _endpoint(value)
        if endpoint.kind == "any" and endpoint.protocol != "udp":
            ports -= set(range(endpoint.first_port, endpoint.last_port + 1))
    if len(ports) > MOST_PUBLISHED:
        where = draft.profile.items("network.bind")[0].origin
        draft.refuse(where, f"more than {MOST_PUBLISHED} ports to show on the host's loopback", "name fewer ports")
        ports.clear()
    return tuple((NUMBERS["tcp"], port) for port in sorted(ports))
