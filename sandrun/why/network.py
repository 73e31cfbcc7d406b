"""What a plan answers to connecting and binding, and which entry decides. Pure, over a Host."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

from sandrun.egress.rules import TCP, UDP, Rules
from sandrun.plan.format import Plan
from sandrun.policy.families import FAMILIES
from sandrun.policy.guards import CLONE_NEW, SOCK_STREAM
from sandrun.primitives.landlock import NET, SCOPES
from sandrun.primitives.sockaddr import find
from sandrun.profile.endpoints import covers, parse
from sandrun.why.answer import Answer
from sandrun.why.entries import Entry, made_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sandrun.host import Host
    from sandrun.profile.model import Endpoint, Profile
    from sandrun.why.calls import Calls

SOCK_DGRAM = 2
TYPES = {"tcp": SOCK_STREAM, "udp": SOCK_DGRAM}
CONNECT = {"tcp": "connect_tcp", "udp": "connect_send_udp"}
BIND = {"tcp": "bind_tcp", "udp": "bind_udp"}
FIRST_FREE = "/proc/sys/net/ipv4/ip_unprivileged_port_start"
ABSTRACT = "abstract:"


class Network:
    """The questions about sockets."""

    def __init__(
        self,
        profile: Profile,
        plan: Plan,
        host: Host,
        calls: Calls,
        ways: Mapping[str, tuple[str, ...]],
        *,
        may_bind_low: bool,
    ) -> None:
        """`may_bind_low`: the command has CAP_NET_BIND_SERVICE over its network."""
        self._profile = profile
        self._plan = plan
        self._host = host
        self._calls = calls
        self._ways = ways
        self._may_bind_low = may_bind_low
        self._ports = {port: access for access, port in plan.port_rules}
        self._relay = Rules(Plan.from_bytes(plan.egress)) if plan.egress else None
        self.has_own = bool(plan.namespaces & CLONE_NEW["CLONE_NEWNET"])
        """It has a network namespace of its own."""

    def connect(self, target: str, port: int, protocol: str) -> Answer:
        """See `Judge.connect`."""
        host = f"[{target}]" if ":" in target else target
        endpoint = parse(f"{protocol}:{host}:{port}")
        act = f"connect {endpoint.text}"
        names = ("inet", "inet6") if endpoint.kind == "name" else ("inet6" if ":" in target else "inet",)
        denied = self._entry("network.deny", endpoint)
        granted = self._entry("network.connect", endpoint)
        if self._no_socket(names, protocol) or self._calls.refused("connect"):
            return self._refused(act, denied, ("seccomp",))
        if self.has_own:
            return self._connect_inside(act, endpoint, granted, denied)
        if self._plan.broker_filter and protocol == "tcp":
            return self._connect_by_broker(act, endpoint, granted, denied)
        if not self._passes(CONNECT[protocol], port):
            return self._refused(act, denied, ("landlock",))
        return self._granted(act, granted, "every host and port is open")

    def _connect_inside(
        self, act: str, endpoint: Endpoint, granted: tuple[Entry, ...], denied: tuple[Entry, ...]
    ) -> Answer:
        """In a network namespace, which nothing leaves but what a relay passes on."""
        if self._relay is not None:
            number = TCP if endpoint.protocol == "tcp" else UDP
            ask = self._relay.tcp if number == TCP else self._relay.udp
            verdict = ask(endpoint.host, endpoint.first_port)
            if verdict.endpoint:
                text = "of its addresses those count that are ordinary places on the internet, or granted themselves"
                return self._granted(act, granted, "", notes=(text,) if verdict.name else ())
            if not _is_loopback(endpoint):
                return self._refused(act, denied, ("relay",), notes=(f"the relay says: {verdict.reason}",))
        note = "the loopback interface inside leads to the command's own processes only"
        notes = (note,) if _is_loopback(endpoint) else ()
        return self._refused(act, denied, ("network namespace",), notes=notes)

    def _connect_by_broker(
        self, act: str, endpoint: Endpoint, granted: tuple[Entry, ...], denied: tuple[Entry, ...]
    ) -> Answer:
        if endpoint.kind == "name":
            return self._refused(act, denied, ("broker",), notes=("hosts are told apart by address here",))
        address = ip_address(endpoint.host)
        found = [
            find(rules, address.packed, endpoint.first_port)
            for rules in (self._plan.broker_deny, self._plan.broker_rules)
        ]
        if found[0] or not found[1]:
            return self._refused(act, denied, ("broker",))
        return self._granted(act, granted, "")

    def bind(self, port: int, protocol: str) -> Answer:
        """See `Judge.bind`."""
        endpoint = parse(f"{protocol}:{port}", bind=True)
        act = f"bind {endpoint.text}"
        denied = self._entry("network.deny", endpoint)
        granted = self._entry("network.bind", endpoint._replace(kind="any"))
        calls = ("bind", "listen") if protocol == "tcp" else ("bind",)
        if self._no_socket(("inet", "inet6"), protocol) or any(map(self._calls.refused, calls)):
            return self._refused(act, denied, ("seccomp",))
        if not self._passes(BIND[protocol], port):
            return self._refused(act, denied, ("landlock",))
        ordinary, notes = "", []
        if self.has_own:
            shown = (6, port) in self._plan.publish and protocol == "tcp"
            notes.append("the host's loopback shows it" if shown else "the command's own processes alone can reach it")
        elif 0 < port < self._first_free() and not self._may_bind_low:
            ordinary = f"ports below {self._first_free()} take CAP_NET_BIND_SERVICE"
        return self._granted(act, granted, "every port is open", ordinary, tuple(notes))

    def unix(self, name: str) -> Answer:
        """Whether the command may connect to unix sockets at all, or to this abstract one. A path is a file as well."""
        act = f"connect {name}"
        granted = tuple(
            made_of(value, "network.unix", self._ways)
            for value in self._profile.items("network.unix")
            if str(getattr(value.value, "text", value.value)) in ("@all", name)
        )
        kinds = (SOCK_STREAM, SOCK_DGRAM)
        if all(self._calls.refused("socket", (FAMILIES["unix"], kind)) for kind in kinds):
            return self._refused(act, (), ("seccomp",))
        if not name.startswith(ABSTRACT):
            return self._granted(act, granted, "unix sockets are not refused")
        if self._plan.landlock_scoped & SCOPES["abstract_unix_socket"]:
            return self._refused(act, (), ("landlock",))
        if self.has_own:
            return self._refused(act, (), ("network namespace",))
        return self._granted(act, granted, "abstract names cannot be told apart")

    def _no_socket(self, families: tuple[str, ...], protocol: str) -> bool:
        return all(self._calls.refused("socket", (FAMILIES[name], TYPES[protocol])) for name in families)

    def _passes(self, right: str, port: int) -> bool:
        """Whether Landlock lets this right pass on this port."""
        return not self._plan.landlock_net & NET[right] or bool(self._ports.get(port, 0) & NET[right])

    def _first_free(self) -> int:
        text = (self._host.read(FIRST_FREE, 16) or b"").strip()
        return int(text) if text.isdigit() else 1024

    def _entry(self, key: str, endpoint: Endpoint) -> tuple[Entry, ...]:
        """The entries of one list that speak of this endpoint."""
        found = []
        for value in self._profile.items(key):
            wide: Endpoint = value.value  # type: ignore[assignment]
            if key == "network.deny" and not wide.protocol:
                wide = wide._replace(protocol=endpoint.protocol if wide.kind != "all" else "")
            if key == "network.bind" and wide.kind == "address":
                wide = wide._replace(kind="any", host="")
            if covers(wide, endpoint):
                found.append(made_of(value, key, self._ways))
        return tuple(found)

    def _granted(
        self, act: str, entries: tuple[Entry, ...], else_: str, ordinary: str = "", notes: tuple[str, ...] = ()
    ) -> Answer:
        reason = f"granted by {entries[0]}" if entries else else_ or "granted"
        return Answer(act, True, reason, entries, (), ordinary, notes)

    def _refused(
        self, act: str, denied: tuple[Entry, ...], walls: tuple[str, ...], notes: tuple[str, ...] = ()
    ) -> Answer:
        reason = f"denied by {denied[0]}" if denied else "no entry grants it"
        return Answer(act, False, reason, denied, walls, "", notes)


def _is_loopback(endpoint: Endpoint) -> bool:
    if endpoint.kind == "name":
        return endpoint.host == "localhost" or endpoint.host.endswith(".localhost")
    return endpoint.kind == "address" and ip_address(endpoint.host).is_loopback
