"""What the relay's plan grants: names, addresses, networks, every host; and what denials take away."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandrun.egress.rules import TCP, UDP, Found, Rules
from sandrun.plan.format import Plan

KINDS = {"n": b"name", "a": b"address", "c": b"cidr", "*": b"any"}


def rule(kind: str, host: str, first: int, last: int = 0, protocol: int = TCP) -> tuple[int, int, bytes, bytes]:
    return protocol, first << 16 | (last or first), KINDS[kind], host.encode()


def rules(*grants: tuple[int, int, bytes, bytes], deny: tuple = (), private: tuple[bytes, ...] = ()) -> Rules:
    return Rules(Plan(relay_rules=grants, relay_deny=deny, relay_private=private))


def public(*texts: str) -> tuple[Found, ...]:
    return tuple(Found(text, own=False) for text in texts)


PYPI = rule("n", "pypi.org", 443)


def test_a_name_grants_itself_and_its_ports() -> None:
    """Only this name, only this port and protocol; no address, not even one that the name has."""
    r = rules(PYPI)
    verdict = r.tcp("pypi.org", 443)
    assert (verdict.endpoint, verdict.reason, verdict.name) == ("tcp:pypi.org:443", "", True)
    for target in ("evil.org", "x.pypi.org", "pypi.org.evil.org", "xpypi.org", "org", "", "pypi.org.", "151.101.0.223"):
        assert r.tcp(target, 443).reason == "not granted"
        assert not r.tcp(target, 443).endpoint
    assert r.tcp("pypi.org", 80).reason == "not granted"
    assert r.udp("pypi.org", 443).reason == "not granted"


def test_a_wildcard_grants_what_is_below() -> None:
    """At any depth, but not the name itself, nor one that only ends alike."""
    r = rules(rule("n", "*.example.org", 1, 65535))
    for name in ("a.example.org", "a.b.example.org"):
        assert r.tcp(name, 8443).endpoint == "tcp:*.example.org:1-65535"
        assert r.allows_name(name)
    for name in ("example.org", "badexample.org", ".example.org", "a.example.org.evil", ""):
        assert not r.tcp(name, 8443).endpoint
        assert not r.allows_name(name)


def test_addresses_and_networks() -> None:
    """In any form of the same address; granted private ones are not questioned."""
    r = rules(rule("a", "10.0.0.1", 5432), rule("c", "192.0.2.0/24", 80), rule("a", "2001:db8::1", 80))
    assert r.tcp("10.0.0.1", 5432).endpoint == "tcp:10.0.0.1:5432"
    assert r.tcp("::ffff:10.0.0.1", 5432).address == "10.0.0.1"
    assert r.tcp("192.0.2.77", 80).endpoint == "tcp:192.0.2.0/24:80"
    assert r.tcp("2001:0db8::0001", 80).endpoint == "tcp:[2001:db8::1]:80"
    for target, port in (("10.0.0.1", 80), ("10.0.0.2", 5432), ("192.0.3.1", 80), ("64:ff9b::a00:1", 5432), ("::", 80)):
        assert r.tcp(target, port).reason == "not granted"


def test_addresses_that_stand_for_names_are_never_dialled() -> None:
    """Even a grant of everything does not lead to an address of the pool that no name has."""
    r = rules(rule("*", "", 443), rule("c", "127.0.0.0/8", 443), rule("a", "127.64.1.1", 443))
    assert r.tcp("127.64.1.1", 443).reason == "no name has this address"
    assert r.tcp("127.127.255.254", 443).reason == "no name has this address"
    assert r.tcp("127.0.0.1", 443).endpoint


def test_names_lead_to_ordinary_places_only() -> None:
    """DNS rebinding: what a name resolves to is judged address by address."""
    choice = rules(PYPI).choose(
        TCP, "pypi.org", 443, public("127.0.0.1", "1.1.1.1", "::ffff:10.0.0.1", "fe80::1%lo", "?")
    )
    assert choice.addresses == ("1.1.1.1",)
    assert dict(choice.refused) == {
        "127.0.0.1": "loopback",
        "10.0.0.1": "private",
        "fe80::1%lo": "link-local",
        "?": "not an address",
    }


def test_what_opens_private_addresses_to_names() -> None:
    """`private`, or a grant of the address for the same port and protocol; nothing else."""
    found = public("10.0.0.1")
    assert rules(PYPI, private=(b"10.0.0.0/8",)).choose(TCP, "pypi.org", 443, found).addresses == ("10.0.0.1",)
    assert rules(PYPI, rule("c", "10.0.0.0/8", 443)).choose(TCP, "pypi.org", 443, found).addresses == ("10.0.0.1",)
    assert rules(PYPI, rule("a", "10.0.0.1", 80)).choose(TCP, "pypi.org", 443, found).addresses == ()
    assert rules(PYPI, rule("a", "10.0.0.1", 443, protocol=UDP)).choose(TCP, "pypi.org", 443, found).addresses == ()
    assert rules(PYPI, private=(b"10.0.0.0/9",)).choose(TCP, "pypi.org", 443, public("10.128.0.1")).addresses == ()


def test_the_machine_itself() -> None:
    """A public address of the machine's own is refused unless it is granted."""
    found = (Found("1.1.1.1", own=True),)
    assert rules(PYPI).choose(TCP, "pypi.org", 443, found).refused == (("1.1.1.1", "an address of this machine"),)
    assert rules(PYPI, rule("a", "1.1.1.1", 443)).choose(TCP, "pypi.org", 443, found).addresses == ("1.1.1.1",)
    assert rules(PYPI, private=(b"1.1.1.1/32",)).choose(TCP, "pypi.org", 443, found).addresses == ("1.1.1.1",)


def test_every_host() -> None:
    """`tcp:22` is a grant of every host: any name, any address, on that port only."""
    r = rules(rule("*", "", 22), PYPI)
    assert r.tcp("anything.example", 22).endpoint == "tcp:22"
    assert r.tcp("169.254.169.254", 22).endpoint == "tcp:22"
    assert r.choose(TCP, "anything.example", 22, public("10.0.0.1")).addresses == ("10.0.0.1",)
    assert r.choose(TCP, "pypi.org", 443, public("10.0.0.1")).addresses == ()
    assert r.allows_name("anything.example")
    assert not r.tcp("anything.example", 443).endpoint


def test_denials_win() -> None:
    """Over names, wildcards, addresses and every host; and over the addresses that a granted name has, in any form."""
    deny = (rule("n", "bad.example.org", 443), rule("c", "10.0.0.0/8", 443), rule("c", "::ffff:192.0.2.0/120", 443))
    r = rules(rule("n", "*.example.org", 443), rule("*", "", 443), deny=deny, private=(b"10.0.0.0/8",))
    assert r.tcp("bad.example.org", 443).reason == "denied by tcp:bad.example.org:443"
    assert r.tcp("10.1.1.1", 443).reason == "denied by tcp:10.0.0.0/8:443"
    assert r.tcp("192.0.2.1", 443).reason.startswith("denied by")
    assert r.tcp("64:ff9b::a01:101", 443).reason.startswith("denied by")
    assert r.tcp("good.example.org", 443).endpoint
    choice = r.choose(TCP, "good.example.org", 443, public("10.1.1.1", "2002:a01:101::", "1.1.1.1"))
    assert choice.addresses == ("1.1.1.1",)
    assert not r.allows_name("bad.example.org")


@pytest.mark.parametrize(("denied", "none"), [("127.0.0.0/8", "0.0.0.0"), ("::1/128", "::")])
def test_no_address_in_particular_is_the_loopback(denied: str, none: str) -> None:
    """The kernel connects to itself instead, so a denial of the loopback counts for it, even beside every host."""
    r = rules(rule("*", "", 80), deny=(rule("c", denied, 80),))
    assert r.choose(TCP, "x.org", 80, public(none)).addresses == ()
    assert not r.tcp(none, 80).endpoint


def test_a_denial_of_some_ports_leaves_the_name() -> None:
    """The responder knows a name as long as one of its ports is granted."""
    r = rules(rule("n", "example.org", 80, 443), deny=(rule("n", "example.org", 80),))
    assert r.allows_name("example.org")
    assert r.tcp("example.org", 80).reason == "denied by tcp:example.org:80"
    assert r.tcp("example.org", 443).endpoint
    assert rules(PYPI, deny=(rule("*", "", 1, 65535, protocol=UDP),)).allows_name("pypi.org")
    assert not rules(PYPI, deny=(rule("*", "", 1, 65535),)).allows_name("pypi.org")


def test_udp_is_apart() -> None:
    """A grant of UDP is none of TCP."""
    r = rules(rule("n", "ntp.example.org", 123, protocol=UDP))
    assert r.udp("ntp.example.org", 123).endpoint == "udp:ntp.example.org:123"
    assert not r.tcp("ntp.example.org", 123).endpoint
    assert r.choose(UDP, "ntp.example.org", 123, public("1.1.1.1", "1.1.1.1")).addresses == ("1.1.1.1",)


@pytest.mark.parametrize(
    "record",
    [
        (1, 443 << 16 | 443, b"name", b"a.org"),
        (TCP, 443 << 16 | 80, b"name", b"a.org"),
        (TCP, 1 << 40, b"name", b"a.org"),
        (TCP, 443 << 16 | 443, b"group", b"@dns"),
        (TCP, 443 << 16 | 443, b"name", b""),
        (TCP, 443 << 16 | 443, b"name", b"*."),
        (TCP, 443 << 16 | 443, b"any", b"a.org"),
        (TCP, 443 << 16 | 443, b"address", b"127.1"),
        (TCP, 443 << 16 | 443, b"cidr", b"10.0.0.1/8"),
        (TCP, 443 << 16 | 443, b"name", b"\xff.org"),
    ],
)
def test_a_rule_that_is_not_understood_is_an_error(record: tuple[int, int, bytes, bytes]) -> None:
    """Never guessed, in grants as in denials."""
    with pytest.raises(ValueError):
        rules(record)
    with pytest.raises(ValueError):
        rules(deny=(record,))


@given(st.text(max_size=40), st.integers(-1, 70000))
def test_nothing_is_granted_by_nothing(target: str, port: int) -> None:
    """Without a grant every target is refused, whatever it is; with one of a name, only that name passes."""
    assert rules().tcp(target, port).reason
    if target != "pypi.org":
        assert rules(PYPI).tcp(target, port).reason
