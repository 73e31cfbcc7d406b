"""Addresses that were named, and what the relay saw → the entries of `[network]`: what was asked for and used. Pure.

Nothing is granted here that was not granted in the learning run: the network is as asked, never as tried.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from sandrun.learn.collapse import Evidence, together
from sandrun.learn.derive import Entry
from sandrun.profile.bad import Bad
from sandrun.profile.endpoints import covers, parse
from sandrun.profile.model import Endpoint, PathEntry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from sandrun.learn.uses import Peer
    from sandrun.profile.model import Profile

DNS = 53


def derive_network(
    peers: Sequence[Peer], traffic: Iterable[dict[str, Any]], asked: Profile, spell: Callable[[str], str]
) -> tuple[list[Entry], list[tuple[str, Evidence]]]:
    """The entries, and what was tried and is not granted, with who tried. `traffic` are the relay's rows of endpoints.

    `spell` says how the profile writes a path.
    """
    rows = {row["endpoint"]: row for row in traffic if row["connections"]}
    has_names = any(peer.name for peer in peers)
    entries: list[Entry] = []
    refused: list[tuple[str, Evidence]] = []
    for peer in peers:
        if has_names and peer.address.port == DNS:
            continue  # where names are granted, they are resolved too
        key, endpoint = _entry(peer, spell, relayed=bool(rows))
        grants = [value.value for value in asked.items(key)]
        if key == "network.bind" and not any(
            isinstance(grant, Endpoint) and grant.kind == "address" for grant in grants
        ):
            # To keep it to one host takes what nobody asked for: a network namespace.
            endpoint = f"{peer.address.protocol}:{peer.address.port}"
        if not endpoint:
            continue
        if _is_granted(endpoint, key, peer, grants):
            entries.append(Entry(key, endpoint, peer.evidence))
        elif not (_by_loopback(peer, asked) or (rows and key == "network.connect")):
            refused.append((f"{key} = {endpoint}", peer.evidence))
    entries = [*_relayed(rows, entries, asked), *_once(entries)]
    loopback = asked.scalar("network.loopback")
    if loopback is not None and loopback.value is True and peers:
        entries.append(Entry("network.loopback", "true", peers[0].evidence))
    return entries, refused


def _once(entries: Iterable[Entry]) -> list[Entry]:
    """One entry for each text: a name may have several addresses, and several programs."""
    found: dict[tuple[str, str], list[Evidence]] = {}
    for entry in entries:
        found.setdefault((entry.key, entry.text), []).append(entry.evidence)
    return [Entry(key, text, together(several)) for (key, text), several in found.items()]


def _relayed(rows: dict[str, dict[str, Any]], entries: Iterable[Entry], asked: Profile) -> Iterator[Entry]:
    """What the relay connected to by a grant of which no more is known: no address or name within it was seen.

    The relay spoke with the command: what it says is believed only as far as it was granted.
    """
    grants = [value.value for value in asked.items("network.connect")]
    seen = [parse(entry.text) for entry in entries if entry.key == "network.connect"]
    for name, row in rows.items():
        try:
            used = parse(name)
        except Bad:
            continue
        is_granted = any(isinstance(grant, Endpoint) and covers(grant, used) for grant in grants)
        if is_granted and not any(covers(used, one) for one in seen):
            yield Entry("network.connect", name, Evidence(("the relay",), row["connections"], 0.0))


def _entry(peer: Peer, spell: Callable[[str], str], *, relayed: bool) -> tuple[str, str]:
    """The key and the text that would grant it; "" where there is none."""
    address = peer.address
    if address.protocol == "unix":
        if address.act == "bind" or not address.host:
            return "network.unix", ""
        host = address.host
        return "network.unix", host if host.startswith("abstract:") else spell(host)
    if address.protocol not in ("tcp", "udp"):
        return "network.connect", ""
    host = f"[{address.host}]" if ":" in address.host else address.host
    if address.act != "bind":
        if peer.name and (relayed or _is_ordinary(address.host)) and _is_name(peer.name):
            host = peer.name
        return "network.connect", f"{address.protocol}:{host}:{address.port}" if address.port else ""
    whole = not host or _is_any(address.host)
    return (
        "network.bind",
        f"{address.protocol}:{address.port}" if whole else f"{address.protocol}:{host}:{address.port}",
    )


def _is_ordinary(host: str) -> bool:
    """Whether a grant by name reaches such an address: of others it takes the address itself."""
    try:
        return ip_address(host).is_global
    except ValueError:
        return False


def _is_name(text: str) -> bool:
    try:
        return parse(f"tcp:{text}:1").kind == "name"
    except Bad:
        return False


def _is_any(host: str) -> bool:
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return False


def _is_granted(text: str, key: str, peer: Peer, grants: Iterable[object]) -> bool:
    if key == "network.unix":
        names = [grant.path or grant.group if isinstance(grant, PathEntry) else str(grant) for grant in grants]
        return "@all" in names or peer.address.host in names
    try:
        wanted = parse(text, bind=key == "network.bind")
    except Bad:
        return False
    return any(isinstance(grant, Endpoint) and covers(grant, wanted) for grant in grants)


def _by_loopback(peer: Peer, asked: Profile) -> bool:
    """Whether it stays on a loopback of the command's own, which needs no grant."""
    value = asked.scalar("network.loopback")
    try:
        return value is not None and value.value is True and ip_address(peer.address.host).is_loopback
    except ValueError:
        return False
