"""Network endpoints as profiles write them: `[tcp:|udp:](HOST|ADDR|CIDR|*)[:PORT[-PORT]]`.

Every accepted endpoint has one canonical spelling, so that two spellings of one place are one entry, and nothing that
resolvers read differently (`127.1`, `0x7f.1`, `010.0.0.1`) passes as a host name.
"""

from __future__ import annotations

from sandrun.profile.bad import Bad, quoted
from sandrun.profile.model import Endpoint

PROTOCOLS = ("tcp", "udp")
ALL = Endpoint("*", "all")
ANY_PORT = (0, 65535)
MAX_PORT = 65535
LABEL = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_")
AMBIGUOUS = frozenset("ß\u1e9eς\u200c\u200d")
"""IDNA 2003 and 2008 map these to different names, so neither is what the author can be sure of (UTS 46)."""


def parse(text: str, *, bind: bool = False) -> Endpoint:
    """Read one endpoint. With `bind`, one to accept connections on: an address, and port 0 is allowed.

    Raises Bad for everything that is not in the grammar.
    """
    if not text.strip() or not text.isprintable() or " " in text:
        raise Bad(f"not an endpoint: {quoted(text)}", "write HOST:PORT, tcp:PORT, an address or *")
    if text in ("*", "@all"):
        return ALL
    if text[0] == "@":
        if text != "@dns":
            raise Bad(f"unknown endpoint group {quoted(text)}", "one of @dns, @all")
        if bind:
            raise Bad(f"{quoted(text)}: connections are accepted on an address", "tcp:PORT is that port on any address")
        return Endpoint(text, "group", host=text)
    if "://" in text:
        host_and_port = text.partition("://")[2].partition("/")[0]
        raise Bad(f"{quoted(text)}: an endpoint is not a URL", f"did you mean {quoted(host_and_port)}?")
    if text.lower() in PROTOCOLS:
        raise Bad(f"{quoted(text)}: a protocol alone", f'every {text.upper()} port is "{text.lower()}:*"')
    protocol, rest = _protocol(text)
    written, ports = ("*", rest) if protocol and _is_ports(rest) else _split(rest, text)
    kind, host = _host(written, text)
    if host in PROTOCOLS and not protocol:
        # Its canonical spelling would be that of every host.
        raise Bad(f"{quoted(text)}: a protocol, not a host", f'a host of that name is "tcp:{host}:PORT"')
    first, last = ANY_PORT if ports is None else _ports(ports, text, bind=bind)
    if bind and kind not in ("any", "address"):
        raise Bad(
            f"{quoted(text)}: connections are accepted on an address, not on a name or network",
            "tcp:PORT is that port on any address, 127.0.0.1:PORT and [::1]:PORT are loopback",
        )
    return Endpoint(_spell(protocol, kind, host, first, last), kind, protocol, host, first, last)


def parse_network(text: str) -> str:
    """Read an address range such as `10.0.0.0/8` or `fd00::/8`; a bare address is a range of one. Canonical form.

    Raises Bad.
    """
    inner = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    kind, host = _v6(inner, text) if ":" in inner else _name_or_v4(inner, text)
    if kind not in ("address", "cidr"):
        raise Bad(f"not a range of addresses: {quoted(text)}", "write it as 10.0.0.0/8 or fd00::/8")
    return host


def covers(wide: Endpoint, narrow: Endpoint) -> bool:
    """Whether all that `narrow` names lies within `wide`."""
    if wide == narrow or wide.kind == "all":
        return True
    if narrow.kind == "all" or wide.kind == "group" or narrow.kind == "group":
        return False
    if wide.protocol not in ("", narrow.protocol):
        return False
    if wide.kind != "any" and not wide.protocol and narrow.protocol == "udp":
        return False  # a host without a protocol is granted for TCP, and denied for both
    if not (wide.first_port <= narrow.first_port and narrow.last_port <= wide.last_port):
        return False
    if wide.kind == "any" or wide.host == narrow.host:
        return True
    if wide.kind == "name" and wide.host[0] == "*" and narrow.kind == "name":
        return narrow.host.endswith(wide.host[1:])
    if wide.kind == "cidr" and narrow.kind in ("address", "cidr"):
        return _contains(wide.host, narrow.host)
    return False


def _protocol(text: str) -> tuple[str, str]:
    head, colon, rest = text.partition(":")
    if colon and head in PROTOCOLS:
        return head, rest
    if colon and head.lower() in PROTOCOLS:
        raise Bad(f"{quoted(text)}: protocols are written in lower case", f"did you mean {head.lower()}:{rest}?")
    return "", text


def _is_ports(text: str) -> bool:
    return bool(text) and text[0].isdigit() and text.replace("-", "").isdecimal() and text.isascii()


def _split(text: str, whole: str) -> tuple[str, str | None]:
    """Host and port of an endpoint without its protocol; the brackets of IPv6 stay with the host."""
    if text.startswith("["):
        inner, bracket, rest = text.partition("]")
        if not bracket:
            raise Bad(f'{quoted(whole)}: nothing closes "["')
        if rest.startswith("/"):
            length, colon, port = rest.partition(":")
            return f"{inner}{length}]", port if colon else None
        if rest and rest[0] != ":":
            raise Bad(f"not an endpoint: {quoted(whole)}", "an IPv6 address with a port is written [ADDRESS]:PORT")
        return inner + "]", rest[1:] if rest else None
    host, colon, port = text.partition(":")
    if ":" in port:
        raise Bad(f"{quoted(whole)}: an IPv6 address stands in brackets", "write [ADDRESS] or [ADDRESS]:PORT")
    return host, port if colon else None


def _ports(text: str, whole: str, *, bind: bool) -> tuple[int, int]:
    first_text, dash, last_text = text.partition("-")
    first, last = _port(first_text, whole), _port(last_text if dash else first_text, whole)
    if (first, last) == (0, 0) and bind:
        return 0, 0
    if not first:
        raise Bad(f"{quoted(whole)}: ports are 1 to {MAX_PORT}", "leave the port out for every port")
    if first > last:
        raise Bad(f"{quoted(whole)}: the range of ports runs backwards", f"did you mean {last}-{first}?")
    return first, last


def _port(text: str, whole: str) -> int:
    if not (text.isascii() and text.isdecimal()) or (len(text) > 1 and text[0] == "0"):
        raise Bad(f"{quoted(whole)}: not a port: {quoted(text)}", f"write a number, 1 to {MAX_PORT}, or FIRST-LAST")
    if len(text) > 5 or int(text) > MAX_PORT:
        raise Bad(f"{quoted(whole)}: ports are 1 to {MAX_PORT}")
    return int(text)


def _host(text: str, whole: str) -> tuple[str, str]:
    """(kind, canonical host) of HOST, ADDR, CIDR or `*`."""
    if text == "*":
        return "any", ""
    if text.startswith("["):
        return _v6(text[1:-1], whole)
    return _name_or_v4(text, whole)


def _name_or_v4(text: str, whole: str) -> tuple[str, str]:
    address, slash, length = text.partition("/")
    if slash:
        return _v4_network(address, length, whole)
    name = text if text.isascii() else _a_labels(text, whole)
    name = name.lower().removesuffix(".")
    if _looks_numeric(name):
        return "address", _v4(name, whole)
    _check_name(name, whole)
    return "name", name


def _looks_numeric(name: str) -> bool:
    """Whether a resolver may read the name as an IPv4 address: its last label is a number (URL standard, inet_aton(3))."""
    last = name.rpartition(".")[2]
    return last.isdecimal() or (last.startswith("0x") and all(char in "0123456789abcdef" for char in last[2:]))


def _v4(text: str, whole: str) -> str:
    parts = text.split(".")
    if len(parts) == 4 and all(p.isdecimal() and len(p) <= 3 and int(p) < 256 and str(int(p)) == p for p in parts):
        return text
    raise Bad(f"{quoted(whole)}: not an IPv4 address in its usual spelling", _odd_v4(text))


def _odd_v4(text: str) -> str:
    """What to write instead of a number that some resolvers read as an address."""
    import socket  # noqa: PLC0415 (error path)

    if text.isdecimal() and len(text) <= 5:
        return f"a port alone is tcp:{text}"
    try:
        return f"did you mean {socket.inet_ntoa(socket.inet_aton(text))}?"
    except OSError:
        return "an address is four numbers, 0 to 255: 192.0.2.1"


def _v4_network(address: str, length: str, whole: str) -> tuple[str, str]:
    address = _v4(address, whole)
    if not length.isascii() or not length.isdecimal() or len(length) > 2 or int(length) > 32:
        raise Bad(f"{quoted(whole)}: the prefix length is 0 to 32")
    number = 0
    for part in address.split("."):
        number = number << 8 | int(part)
    mask = (1 << 32) - (1 << (32 - int(length)))
    if number & ~mask:
        start = ".".join(str((number & mask) >> shift & 255) for shift in (24, 16, 8, 0))
        raise Bad(f"{quoted(whole)}: the address has bits behind the prefix", f"did you mean {start}/{int(length)}?")
    return ("address", address) if int(length) == 32 else ("cidr", f"{address}/{int(length)}")


def _v6(text: str, whole: str) -> tuple[str, str]:
    import ipaddress  # noqa: PLC0415 (only where IPv6 is written)

    if "%" in text:
        raise Bad(f"{quoted(whole)}: an address with a zone is not supported")
    try:
        network = ipaddress.IPv6Network(text, strict=False)
    except ValueError:
        raise Bad(f"{quoted(whole)}: not an IPv6 address or network") from None
    mapped = network.network_address.ipv4_mapped
    if mapped is not None and network.prefixlen == 128:
        raise Bad(f"{quoted(whole)}: an IPv4 address in IPv6 spelling", f"did you mean {mapped}?")
    if network.prefixlen == 128:
        return "address", str(network.network_address)
    if ipaddress.IPv6Address(text.partition("/")[0]) != network.network_address:
        raise Bad(f"{quoted(whole)}: the address has bits behind the prefix", f"did you mean {network}?")
    return "cidr", str(network)


def _a_labels(text: str, whole: str) -> str:
    """An internationalised name in A-labels (`xn--…`)."""
    if any(char in AMBIGUOUS for char in text):
        raise Bad(f"{quoted(whole)}: a letter that standards map to different names", "write the name as xn--…")
    wildcard, name = ("*.", text[2:]) if text.startswith("*.") else ("", text)
    try:
        return wildcard + name.encode("idna").decode("ascii")
    except UnicodeError:
        raise Bad(f"{quoted(whole)}: not a host name") from None


def _check_name(name: str, whole: str) -> None:
    labels = name.split(".")
    if labels[0] == "*" and len(labels) > 1:
        labels = labels[1:]
    if "*" in name.removeprefix("*."):
        raise Bad(f"{quoted(whole)}: a wildcard stands for whole names at the start", 'as in "*.example.org"')
    if not name or len(name) > 253:
        raise Bad(f"not an endpoint: {quoted(whole)}", "write HOST:PORT, tcp:PORT, an address or *")
    for label in labels:
        if not 0 < len(label) < 64 or label[0] == "-" or label[-1] == "-" or not LABEL.issuperset(label):
            raise Bad(f"{quoted(whole)}: not a host name")


def _spell(protocol: str, kind: str, host: str, first: int, last: int) -> str:
    """The canonical text."""
    head = f"{protocol}:" if protocol else ""
    shown = "*" if kind == "any" else f"[{host}]" if ":" in host else host
    if (first, last) == ANY_PORT:
        return head + shown
    ports = str(first) if first == last else f"{first}-{last}"
    return head + ports if kind == "any" and protocol else f"{head}{shown}:{ports}"


def _contains(network: str, inner: str) -> bool:
    import ipaddress  # noqa: PLC0415 (only `profile diff` compares networks)

    wide, narrow = ipaddress.ip_network(network), ipaddress.ip_network(inner)
    if isinstance(wide, ipaddress.IPv4Network) and isinstance(narrow, ipaddress.IPv4Network):
        return narrow.subnet_of(wide)
    if isinstance(wide, ipaddress.IPv6Network) and isinstance(narrow, ipaddress.IPv6Network):
        return narrow.subnet_of(wide)
    return False
