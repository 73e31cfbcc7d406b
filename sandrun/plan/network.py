"""The network: sockets by family and type (seccomp), TCP and UDP ports (Landlock), a loopback interface of its own.

What seccomp and Landlock cannot tell apart (one address from another, one named unix socket from another on most
kernels) is never granted more widely than asked: `egress` has a relay for it, or it is refused with the remedy, or left
out where the profile makes it optional.
"""

from __future__ import annotations

import os

from sandrun.host import home_of
from sandrun.plan.draft import Guard, accept
from sandrun.plan.egress import HOSTS, LOOPBACK, is_every_port, is_moot, wanted, why_not
from sandrun.plan.format import KIND_FILE
from sandrun.plan.inherited import check_sockets
from sandrun.plan.namespaces import missing, use
from sandrun.policy import guards
from sandrun.policy.families import FAMILIES
from sandrun.primitives import landlock
from sandrun.primitives.namespaces import KINDS
from sandrun.profile.paths import expand

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from sandrun.host import Account, Host
    from sandrun.kernel import Kernel
    from sandrun.plan.draft import Draft
    from sandrun.profile.model import Endpoint, PathEntry, Value

MOST_PORTS = 4096
"""Each port is a Landlock rule of its own; a range wider than this is refused."""
PROTOCOLS = ("tcp", "udp")
RIGHTS = {
    # (direction, protocol): the Landlock right
    ("connect", "tcp"): "connect_tcp",
    ("bind", "tcp"): "bind_tcp",
    ("connect", "udp"): "connect_send_udp",
    ("bind", "udp"): "bind_udp",
}
SOCK_STREAM, SOCK_DGRAM, IPPROTO_TCP, IPPROTO_UDP = 1, 2, 6, 17  # socket(2), <netinet/in.h>
SOCKETS = {
    # what socket(2) may be asked for: (type, protocols)
    "tcp": (SOCK_STREAM, (0, IPPROTO_TCP)),
    "udp": (SOCK_DGRAM, (0, IPPROTO_UDP)),
}


class Ports:
    """What one direction may do per protocol: every port (`everything`), or the ports listed, or what a broker does."""

    def __init__(self) -> None:
        self.everything: set[str] = set()
        self.ports: dict[str, set[int]] = {protocol: set() for protocol in PROTOCOLS}
        self.brokered: tuple[str, ...] = ()
        """Protocols whose sockets can be made, for another to connect."""

    def grants(self, protocol: str) -> bool:
        return protocol in self.everything or protocol in self.brokered or bool(self.ports[protocol])

    def __bool__(self) -> bool:
        return any(self.grants(protocol) for protocol in PROTOCOLS)


def resolve_network(draft: Draft, kernel: Kernel, host: Host, account: Account | None = None) -> None:
    """Set the Landlock network fields, add the socket guards; call after the filesystem."""
    profile = draft.profile
    denied = profile.items("network.deny")
    closed = any(_endpoint(value).kind == "all" and not _endpoint(value).protocol for value in denied)
    connect = Ports() if closed or draft.egress else _collect(draft, "connect", kernel)
    bind = Ports() if closed else _collect(draft, "bind", kernel)
    unix = _resolve_unix(draft, kernel, host, home_of(host, account)) if not closed else False
    if not closed:
        _apply_denied(draft, denied, connect, bind)
    if draft.egress:
        # Whatever is connected or sent to ends at the relay, which can only tell of what reaches it; and what is bound
        # is seen by the command's own processes. What the host's loopback shows of it is `egress.publish`.
        connect.everything.update(PROTOCOLS)
        bind.everything.add("udp")
    elif draft.profile.items("network.private"):
        draft.warnings.append("network.private: no host name is granted that could resolve to these")
    if closed:
        draft.record("network.deny", "seccomp")
    _resolve_loopback(draft, kernel, connect, bind, closed=closed)
    _resolve_landlock(draft, kernel, connect, bind)
    _resolve_sockets(draft, kernel, connect, bind, unix=unix)
    knows_unix = kernel.landlock_abi >= landlock.FS_ABI["resolve_unix"]
    check_sockets(draft, host, connect.everything, unix=unix or knows_unix)
    if not unix and kernel.landlock_abi >= landlock.SCOPES_ABI["abstract_unix_socket"]:
        scope = landlock.SCOPES["abstract_unix_socket"]
        draft.fields["landlock_scoped"] = draft.fields.get("landlock_scoped", 0) | scope


def _resolve_loopback(draft: Draft, kernel: Kernel, connect: Ports, bind: Ports, *, closed: bool) -> None:
    """In a network namespace with nothing but a loopback interface, every TCP and UDP port is the command's own."""
    asked = draft.profile.scalar("network.loopback")
    if asked is None or not asked.value:
        return
    if closed:
        draft.record("network.loopback", "seccomp", notes=("network.deny closes it too",))
        return
    reason = why_not(draft, kernel) if wanted(draft.profile) else missing(draft, kernel, KINDS["net"])
    if reason:
        lost = f"a loopback of its own needs a network namespace: {reason}"
        draft.lose("network.loopback", lost, f"use --connect tcp:PORT, or {accept('network.loopback')}")
        return
    use(draft, KINDS["net"])
    draft.fields["loopback"] = 1
    for ports in (connect, bind):
        ports.everything.update(PROTOCOLS)
    draft.record("network.loopback", "network namespace", notes=("TCP and UDP among its own processes",))


def _endpoint(value: Value) -> Endpoint:
    return value.value  # type: ignore[return-value]


def _collect(draft: Draft, direction: str, kernel: Kernel) -> Ports:
    """What the endpoints of one direction grant; an endpoint that cannot be kept as narrow as written grants nothing."""
    ports = Ports()
    key = f"network.{direction}"
    values = draft.profile.items(key)
    granted = [_endpoint(value) for value in values]
    for value in values:
        endpoint = _endpoint(value)
        where = (str(value.origin),)
        protocols = (endpoint.protocol,) if endpoint.protocol else PROTOCOLS
        if draft.egress and endpoint.kind == "address":
            if endpoint.host not in LOOPBACK:
                continue
        elif direction == "connect" and draft.broker and endpoint.text in draft.broker.endpoints:
            ports.brokered = ("tcp",)
            continue
        elif endpoint.kind in (*HOSTS, "group"):
            if is_moot(endpoint, granted):
                draft.warnings.append(f"{value.origin}: {endpoint.text} adds nothing to a grant of every host")
                continue
            hint = f"--{direction} tcp:{endpoint.first_port} is that port on any host" if endpoint.first_port else None
            lost = f"{endpoint.text}: {_why_by_port(draft, kernel, endpoint)}"
            draft.lose(key, lost, hint or f'--{direction} "*" is every host', requested=where)
            continue
        for protocol in protocols:
            _grant(draft, ports, direction, protocol, value, kernel)
    return ports


def _why_by_port(draft: Draft, kernel: Kernel, endpoint: Endpoint) -> str:
    """Why a grant cannot be kept to one host, for the end of a sentence."""
    if endpoint.kind == "group":
        return "the resolvers cannot be told from other hosts, and names that are granted need none"
    reason = why_not(draft, kernel)
    if draft.no_broker and endpoint.kind != "name":
        reason += f"; nor can its connections be made for it: {draft.no_broker}"
    return (
        f"keeping to one host takes a network namespace{': ' + reason if reason else ', which nothing here asks for'}"
    )


def _grant(draft: Draft, ports: Ports, direction: str, protocol: str, value: Value, kernel: Kernel) -> None:
    endpoint = _endpoint(value)
    needed = landlock.NET_ABI[RIGHTS[direction, protocol]]
    if is_every_port(endpoint) or (draft.egress and kernel.landlock_abi < needed):
        ports.everything.add(protocol)
        return
    if kernel.landlock_abi < needed:
        lost = f"{endpoint.text}: {protocol.upper()} ports need Landlock ABI {needed}, here {kernel.landlock_abi}"
        hint = f'a newer kernel, tcp: alone, or --{direction} "*" for every port'
        draft.lose(f"network.{direction}", lost, hint, requested=(str(value.origin),))
        return
    if endpoint.last_port - endpoint.first_port >= MOST_PORTS:
        draft.refuse(
            value.origin, f"{endpoint.text}: more than {MOST_PORTS} ports", f'use "{protocol}:*" for every port'
        )
        return
    ports.ports[protocol].update(range(endpoint.first_port, endpoint.last_port + 1))


def _apply_denied(draft: Draft, denied: Iterable[Value], connect: Ports, bind: Ports) -> None:
    """Take denied ports out of the granted ones. Out of "every port" nothing can be taken: Landlock lists what is allowed."""
    taken = False
    for value in denied:
        endpoint = _endpoint(value)
        protocols = (endpoint.protocol,) if endpoint.protocol else PROTOCOLS
        for protocol in protocols:
            for direction, ports in (("connect", connect), ("bind", bind)):
                if not ports.grants(protocol):
                    continue
                if protocol in ports.brokered and endpoint.kind in ("address", "cidr", "any"):
                    continue  # the broker denies it
                if is_every_port(endpoint):
                    ports.everything.discard(protocol)
                    ports.ports[protocol].clear()
                elif endpoint.kind == "any" and protocol not in ports.everything:
                    ports.ports[protocol] -= set(range(endpoint.first_port, endpoint.last_port + 1))
                elif draft.egress:
                    continue  # the relay denies it, and shows no such port
                else:
                    lost = f"{endpoint.text} cannot be taken out of what network.{direction} grants"
                    hint = "grant ports one by one instead of everything"
                    draft.lose("network.deny", lost, hint, requested=(str(value.origin),))
                    continue
                taken = True
    if (draft.egress or draft.broker) and denied:
        draft.record("network.deny", "relay" if draft.egress else "broker")
    elif taken:
        draft.record("network.deny", "landlock", "seccomp")


def _resolve_unix(draft: Draft, kernel: Kernel, host: Host, home: str) -> bool:
    """Whether unix sockets can be made at all. Named ones become path rules where Landlock knows them (ABI 9)."""
    granted = False
    right = landlock.FS["resolve_unix"]
    needed = landlock.FS_ABI["resolve_unix"]
    for value in draft.profile.items("network.unix"):
        where = (str(value.origin),)
        text, entry = _unix_target(value)
        if text == "@all":
            draft.fields["landlock_fs"] = draft.fields.get("landlock_fs", 0) & ~right
            granted = True
        elif entry is None:
            hint = '--unix "@all" allows every unix socket'
            draft.lose("network.unix", f"{text}: abstract names cannot be told apart", hint, requested=where)
        elif kernel.landlock_abi < needed:
            lost = f"{text}: one named unix socket needs Landlock ABI {needed} (Linux 7.1), here {kernel.landlock_abi}"
            draft.lose("network.unix", lost, '--unix "@all" allows every unix socket', requested=where)
        else:
            granted |= _add_socket_rule(draft, host, home, value)
    if granted:
        draft.record("network.unix", "landlock" if kernel.landlock_abi >= needed else "seccomp")
    return granted


def _unix_target(value: Value) -> tuple[str, PathEntry | None]:
    """The text of an entry of `network.unix`, and its path unless it is abstract."""
    if isinstance(value.value, str):
        return value.value, None
    entry: PathEntry = value.value  # type: ignore[assignment]
    return entry.text, entry


def _add_socket_rule(draft: Draft, host: Host, home: str, value: Value) -> bool:
    """Let one named socket be connected to, by a path rule. Whether there was one."""
    entry: PathEntry = value.value  # type: ignore[assignment]
    added = []
    for path in expand(value, host, home):
        real = host.realpath(path)
        if host.lstat(real) is not None:
            added.append((landlock.FS["resolve_unix"], KIND_FILE, os.fsencode(real)))
        elif not entry.optional:
            draft.refuse(value.origin, f"no such socket: {path}", "end the entry in ? to skip it if absent")
    draft.fields["path_rules"] = (*draft.fields.get("path_rules", ()), *added)
    return bool(added)


def _resolve_landlock(draft: Draft, kernel: Kernel, connect: Ports, bind: Ports) -> None:
    """Handle each TCP and UDP right that is not granted on every port, and list the ports that are."""
    handled = 0
    rules: dict[int, int] = {}
    available = landlock.net_mask(kernel.landlock_abi)
    for (direction, protocol), name in RIGHTS.items():
        ports = connect if direction == "connect" else bind
        right = landlock.NET[name]
        if not right & available or protocol in ports.everything:
            continue
        handled |= right
        for port in ports.ports[protocol]:
            rules[port] = rules.get(port, 0) | right
    draft.fields["landlock_net"] = handled
    draft.fields["port_rules"] = tuple((rules[port], port) for port in sorted(rules))


def _resolve_sockets(draft: Draft, kernel: Kernel, connect: Ports, bind: Ports, *, unix: bool) -> None:
    """Which sockets can be made, and what may be done to them, by seccomp."""
    families = [str(value.value) for value in draft.profile.items("network.families")]
    if "@all" in families:
        draft.record("network.families", "none")
        if draft.egress:
            draft.record("network.connect", "relay", notes=_notes(draft, "connect"))
        return
    allowed: dict[int, tuple[tuple[int, tuple[int, ...]], ...] | None] = {}
    inet = tuple(SOCKETS[protocol] for protocol in PROTOCOLS if connect.grants(protocol) or bind.grants(protocol))
    if inet:
        allowed[FAMILIES["inet"]] = allowed[FAMILIES["inet6"]] = inet
    if unix:
        allowed[FAMILIES["unix"]] = None
    for name in families:
        allowed[FAMILIES[name.lower().removeprefix("af_")]] = None
    draft.guards.extend(guards.socket_families(allowed))
    draft.guards.extend(guards.io_uring())
    _guard_ports(draft, kernel, connect, bind, unix=unix)
    for direction, ports in (("connect", connect), ("bind", bind)):
        rights = sum(landlock.NET[name] for (way, _), name in RIGHTS.items() if way == direction)
        by_port = bool(inet) and bool(draft.fields["landlock_net"] & rights)
        mechanisms = ("landlock", "seccomp") if by_port else ("seccomp",)
        if draft.broker and direction == "connect":
            mechanisms = ("broker", *(("landlock",) if draft.fields["landlock_net"] & rights else ()), "seccomp")
        if draft.egress:
            mechanisms = (*(("relay",) if direction == "connect" or draft.egress.publish else ()), *mechanisms)
        draft.record(f"network.{direction}", *mechanisms, notes=_notes(draft, direction) or _summary(ports))
    if families:
        draft.record("network.families", "seccomp")
    if not unix:
        draft.record("network.unix", "seccomp", notes=("none; connected stream pairs of socketpair(2) work",))


def _guard_ports(draft: Draft, kernel: Kernel, connect: Ports, bind: Ports, *, unix: bool) -> None:
    """Close what Landlock's port rights leave open on this kernel (design: fast open, unbound listen, UDP ports)."""
    if not connect and not bind:
        return
    if draft.egress:
        # UDP ports, and those below the right's ABI, are bound in a namespace that nothing leaves.
        if not bind.grants("tcp"):
            draft.guards.extend(guards.no_listen())
        return
    if "tcp" not in connect.everything:
        draft.guards.extend(guards.tcp_fast_open())
    udp_bind_open = (connect.grants("udp") or bind.grants("udp")) and kernel.landlock_abi < landlock.NET_ABI["bind_udp"]
    tcp_bind_open = kernel.landlock_abi < landlock.NET_ABI["bind_tcp"]
    if not connect.grants("tcp") and kernel.landlock_abi < landlock.NET_ABI["connect_tcp"] and not unix:
        draft.guards.append(Guard("connect", "errno:EACCES", "network.connect"))
    if bind.grants("udp") and not connect.grants("udp") and kernel.landlock_abi < landlock.NET_ABI["connect_send_udp"]:
        lost = "a UDP socket that may be bound can also send anywhere below Landlock ABI 10"
        draft.lose("network.connect", lost, 'grant connect = ["udp:*"] if that is acceptable', "seccomp")
    if not bind:
        draft.guards.extend(guards.no_listen())
        if udp_bind_open or tcp_bind_open:
            draft.guards.extend(guards.no_bind())
            if unix:
                draft.warnings.append(
                    "network.bind: binding a unix socket is refused too, since this kernel cannot tell them apart"
                )
    elif udp_bind_open and "udp" not in bind.everything:
        lost = f"UDP ports could be bound freely: needs Landlock ABI {landlock.NET_ABI['bind_udp']}, here {kernel.landlock_abi}"
        draft.lose("network.bind", lost, 'leave UDP out (connect = ["tcp:*"]), or grant bind = ["udp:*"]', "landlock")


def _notes(draft: Draft, direction: str) -> tuple[str, ...]:
    """What a network namespace or a broker leaves of the grants; () where there is neither."""
    egress = draft.egress
    if draft.broker and direction == "connect":
        return draft.broker.endpoints
    if egress and direction == "connect":
        return egress.endpoints or ("its own loopback interface only",)
    if egress and egress.publish:
        return ("shown on the host's loopback: tcp " + _ranges([port for _, port in egress.publish]),)
    return ("its own loopback interface only",) if draft.fields.get("loopback") else ()


def _summary(ports: Ports) -> tuple[str, ...]:
    words = []
    for protocol in PROTOCOLS:
        if protocol in ports.everything:
            words.append(f"{protocol}: every port")
        elif ports.ports[protocol]:
            words.append(f"{protocol}: {_ranges(sorted(ports.ports[protocol]))}")
    return tuple(words) or ("none",)


def _ranges(ports: list[int]) -> str:
    spans: list[list[int]] = []
    for port in ports:
        if spans and spans[-1][1] == port - 1:
            spans[-1][1] = port
        else:
            spans.append([port, port])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)
