"""Hosts by address without namespaces: which profiles the broker serves, by which rules, and what it makes of addresses."""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, strategies

from sandrun import connector as broker
from sandrun import traffic
from sandrun.egress import addresses
from sandrun.errors import SandrunError
from sandrun.kernel import NAMESPACES, Kernel
from sandrun.plan.resolve import resolve
from sandrun.policy.syscalls import numbers
from sandrun.primitives import notify, sockaddr
from sandrun.primitives.landlock import NET
from sandrun.profile import load
from tests import bpf_sim
from tests.fakes import debian_host

if TYPE_CHECKING:
    from sandrun.plan.format import Plan
    from sandrun.plan.resolve import Resolution

USER_NOTIF = 0x7FC00000
EVERYTHING = (("filesystem.read", "@all"), ("filesystem.write", "@all"), ("filesystem.execute", "@all"))


def kernel(abi: int = 7, **facts: Any) -> Kernel:
    return Kernel(
        **{
            **dict.fromkeys(NAMESPACES, False),
            "namespace_reason": "not here",
            "landlock_abi": abi,
            "landlock_state": "available" if abi else "missing",
            "uid": 1000,
            "broker": "",
            **facts,
        }
    )


def planned(*written: tuple[str, str], on: Kernel | None = None, optional: tuple[str, ...] = ()) -> Resolution:
    """The plan of `none` with these (key, value); everything of the files is granted."""
    flags = [(key, text, "--" + key) for key, text in (*EVERYTHING, *written)]
    on = on or kernel()
    return resolve(load(("none",), flags, optional=optional), on, debian_host(uid=on.uid), ("/usr/bin/true",))


def connect(*endpoints: str) -> tuple[tuple[str, str], ...]:
    return tuple(("network.connect", endpoint) for endpoint in endpoints)


def judged(plan: Plan, host: str, port: int) -> bool:
    packed = ipaddress.ip_address(host).packed
    return bool(sockaddr.find(plan.broker_rules, packed, port)) and not sockaddr.find(plan.broker_deny, packed, port)


def spelled(host: str, port: int) -> bytes:
    if ":" in host:
        return struct.pack("=H", socket.AF_INET6) + struct.pack(">HI16sI", port, 7, socket.inet_pton(10, host), 9)
    return struct.pack("=H", socket.AF_INET) + struct.pack(">H4s8x", port, socket.inet_aton(host))


# --- the plan --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("abi", [3, 4, 7, 10])
def test_an_address_is_kept_without_namespaces(abi: int) -> None:
    """A TCP endpoint by address has the supervisor connect; the command itself can connect nowhere, on every kernel."""
    found = planned(*connect("10.0.0.0/8:5432"), on=kernel(abi))
    plan = found.plan
    assert plan.broker_filter
    assert not plan.egress
    assert not plan.namespaces
    assert judged(plan, "10.1.2.3", 5432)
    assert not judged(plan, "10.1.2.3", 5433)
    assert not judged(plan, "11.1.2.3", 5432)
    if abi >= 4:
        assert plan.landlock_net & NET["connect_tcp"]
        assert not any(access & NET["connect_tcp"] for access, _ in plan.port_rules)
    (record,) = (one for one in found.enforcement if one.key == "network.connect")
    assert record.state == "enforced"
    assert record.mechanisms[0] == "broker"
    assert record.notes == ("10.0.0.0/8:5432",)


def test_namespaces_come_first() -> None:
    """Where namespaces can be had there is a relay and no broker."""
    plan = planned(*connect("10.0.0.0/8:5432"), on=kernel(**dict.fromkeys(NAMESPACES, True), namespace_reason="")).plan
    assert plan.egress
    assert not plan.broker_filter


@pytest.mark.parametrize(
    ("written", "says"),
    [
        (connect("example.org:443"), "keeping to one host takes a network namespace: not here"),
        (connect("10.0.0.1:443", "example.org:443"), "example.org:443: keeping to one host"),
        (connect("udp:10.0.0.1:53"), "keeping to one host takes a network namespace"),
        ((*connect("10.0.0.1:443"), ("network.unix", "@all")), "network.unix opens sockets"),
        ((*connect("10.0.0.1:443"), ("network.families", "netlink")), "network.families opens sockets"),
        (connect("10.0.0.1:443", "udp:*"), "udp:* grants UDP"),
        (connect("10.0.0.1"), "every port of one host"),
        ((*connect("10.0.0.1:443"), ("network.deny", "example.org:443")), "example.org:443 cannot be taken out"),
    ],
)
def test_what_it_cannot_keep_is_refused(written: tuple[tuple[str, str], ...], says: str) -> None:
    """Names, UDP, and what stands beside that it would not see, are no silent loss."""
    with pytest.raises(SandrunError) as caught:
        planned(*written)
    assert any(says in problem.message for problem in caught.value.problems)  # type: ignore[attr-defined]


def test_a_kernel_without_it() -> None:
    """Where user notification does not work the reason is told."""
    with pytest.raises(SandrunError) as caught:
        planned(*connect("10.0.0.1:443"), on=kernel(broker="it is watched already"))
    assert "nor can its connections be made for it: it is watched already" in str(caught.value)


def test_names_that_are_optional_are_left_out() -> None:
    """A name that the profile does without widens nothing: the addresses beside it are kept."""
    plan = planned(*connect("10.0.0.1:443", "example.org:443"), optional=("network.connect",)).plan
    assert judged(plan, "10.0.0.1", 443)
    assert not judged(plan, "10.0.0.2", 443)


def test_a_port_of_every_host_beside_one() -> None:
    """A port of every host is a rule like the others; a host that it covers adds nothing."""
    plan = planned(*connect("10.0.0.1:80", "tcp:443")).plan
    assert judged(plan, "192.0.2.1", 443)
    assert judged(plan, "2001:db8::1", 443)
    assert not judged(plan, "192.0.2.1", 80)


def test_denied_in_every_form() -> None:
    """A denied IPv4 network is denied in each IPv6 form that carries it, by the relay's own account of these."""
    written = (*connect("[::]/0:80", "0.0.0.0/0:80"), ("network.deny", "10.0.0.0/8"), ("network.deny", "127.0.0.1:80"))
    plan = planned(*written).plan
    for carrier in ("64:ff9b::10.1.2.3", "64:ff9b:1::10.1.2.3", "2002:0a01:0203::1", "2001:0:0a01:0203::1"):
        assert addresses.parse("10.1.2.3") in addresses.meanings(addresses.parse(carrier))
        assert not judged(plan, carrier, 80), carrier
    teredo = ipaddress.IPv6Address((0x20010000 << 96) | (~int(ipaddress.IPv4Address("10.1.2.3")) & 0xFFFFFFFF))
    assert not judged(plan, str(teredo), 80)
    assert not judged(plan, "10.255.0.1", 80)
    assert judged(plan, "11.0.0.1", 80)
    assert judged(plan, "64:ff9b::11.1.2.3", 80)
    for spelling in ("127.0.0.1", "0.0.0.0", "::ffff:127.0.0.1", "::ffff:0.0.0.0"):
        _, host, port = sockaddr.parse(spelled(spelling, 80))
        assert sockaddr.find(plan.broker_deny, host, port), spelling


def test_source_routes_are_closed() -> None:
    """A socket cannot be given a route of its own, which would lead its packets elsewhere; other options are free."""
    plan = planned(*connect("10.0.0.1:443")).plan
    assert {
        (level, option): errno_of(plan, level, option) for level, option in ((0, 4), (41, 57), (41, 5), (6, 30))
    } == (dict.fromkeys(((0, 4), (41, 57), (41, 5), (6, 30)), errno.EOPNOTSUPP))
    for level, option in ((6, 1), (1, 9), (41, 26), (0, 1), (41, 16)):
        assert errno_of(plan, level, option) == 0
    assert errno_of(plan, 41 | 1 << 32, 57 | 1 << 32) == errno.EOPNOTSUPP


def errno_of(plan: Plan, level: int, option: int) -> int:
    number = numbers("x86_64")["setsockopt"]
    answers = {bpf_sim.run(program, number, (3, level, option)) for program in plan.seccomp}
    return next((answer & 0xFFFF for answer in answers if answer & 0xFFFF0000 == bpf_sim.ERRNO), 0)


@pytest.mark.parametrize(("machine", "arch"), [("x86_64", bpf_sim.X86_64), ("aarch64", bpf_sim.AARCH64)])
def test_the_filter_hands_over_connect_alone(machine: str, arch: int) -> None:
    """Every other call goes on to the other programs, which refuse calls of other architectures."""
    program = notify.connect_filter(machine)
    known = numbers(machine)
    handed = [name for name, number in known.items() if bpf_sim.run(program, number, arch=arch) == USER_NOTIF]
    assert handed == ["connect"]
    assert bpf_sim.run(program, known["connect"], arch=bpf_sim.I386) == bpf_sim.ALLOW


# --- addresses -------------------------------------------------------------------------------------------------------


def test_parse() -> None:
    """What is connected to is what was judged, whatever stands in the rest of the struct."""
    assert sockaddr.parse(spelled("10.0.0.1", 80)[:8] + b"rubbish!") == (spelled("10.0.0.1", 80), b"\x0a\0\0\1", 80)
    assert sockaddr.parse(spelled("10.0.0.1", 80) + b"more")[0] == spelled("10.0.0.1", 80)
    assert sockaddr.parse(spelled("2001:db8::1", 80))[0] == spelled("2001:db8::1", 80)
    assert sockaddr.parse(spelled("::ffff:10.0.0.1", 80))[1] == b"\x0a\0\0\1"
    assert sockaddr.parse(spelled("0.0.0.0", 80))[:2] == (spelled("127.0.0.1", 80), b"\x7f\0\0\1")
    assert sockaddr.parse(spelled("::", 80))[0] == spelled("::1", 80)
    assert sockaddr.parse(spelled("::ffff:0.0.0.0", 80))[0] == spelled("::ffff:127.0.0.1", 80)
    assert sockaddr.parse(spelled("2001:db8::1", 80)[:24])[0] == spelled("2001:db8::1", 80)[:24] + bytes(4)
    assert sockaddr.parse(struct.pack("=H", 0))[1] == b""


@pytest.mark.parametrize(
    ("raw", "number"),
    [
        (b"", errno.EINVAL),
        (b"\2", errno.EINVAL),
        (spelled("10.0.0.1", 80)[:15], errno.EINVAL),
        (spelled("2001:db8::1", 80)[:23], errno.EINVAL),
        (struct.pack("=H", socket.AF_UNIX) + b"/run/socket", errno.EAFNOSUPPORT),
        (struct.pack("=H", 0xFFFF) + bytes(20), errno.EAFNOSUPPORT),
    ],
)
def test_no_address(raw: bytes, number: int) -> None:
    """The answers are those of the kernel."""
    with pytest.raises(OSError) as caught:
        sockaddr.parse(raw)
    assert caught.value.errno == number


@given(strategies.binary(max_size=notify.MOST_ADDRESS))
def test_parse_survives_anything(raw: bytes) -> None:
    """Bytes of the command make an address or an errno, nothing else."""
    try:
        address, host, port = sockaddr.parse(raw)
    except OSError:
        return
    assert len(address) in (16, 28)
    assert len(host) in (0, 4, 16)
    assert 0 <= port <= 65535


@given(strategies.ip_addresses())
def test_place(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    """Addresses are spelled as everywhere."""
    text = sockaddr.place(address.packed, 80)
    assert ipaddress.ip_address(text.rpartition(":")[0].strip("[]")) == address
    if address.version == 4 or not address.ipv4_mapped:
        assert text == (f"{address}:80" if address.version == 4 else f"[{address}]:80") or "::" in text


@given(strategies.ip_addresses(v=4), strategies.integers(0, 32), strategies.ip_addresses(v=4))
def test_rules_are_networks(base: ipaddress.IPv4Address, length: int, other: ipaddress.IPv4Address) -> None:
    """The masks of the plan mean what `ipaddress` says of the network."""
    network = ipaddress.ip_network((int(base), length), strict=False)
    rules = ((80 << 16 | 80, 0, network.network_address.packed + network.netmask.packed, b"x"),)
    assert bool(sockaddr.find(rules, other.packed, 80)) == (other in network)
    assert not sockaddr.find(rules, other.packed, 81)
    assert not sockaddr.find(rules, bytes(12) + other.packed, 80)


def test_the_record_has_the_relays_shape() -> None:
    """What it leaves is read as the relay's record; bytes are unknown."""
    record = broker._Record(verbose=False)
    record.connected("tcp:10.0.0.1:80", 0)
    record.connected("tcp:10.0.0.1:80", errno.ECONNREFUSED)
    record.connected("tcp:10.0.0.1:80", errno.EISCONN)
    for number in range(broker.MOST_REFUSED + 5):
        record.refused(f"10.0.0.1:{number}", "not granted")
    document = traffic.document(record.text())
    assert document["complete"] is True
    assert document["endpoints"] == [
        {
            "endpoint": "tcp:10.0.0.1:80",
            "connections": 2,
            "failed": 1,
            "error": "Connection refused",
            "sent": None,
            "received": None,
        }
    ]
    assert len(document["refused"]) == broker.MOST_REFUSED
    assert document["others"] == 5
