"""Internet addresses as connect(2) takes them: struct sockaddr_in and sockaddr_in6 (ip(7), ipv6(7)). LIGHT."""

from __future__ import annotations

import errno
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    _Rule = tuple[int, int, bytes, bytes]

AF_UNSPEC, AF_INET, AF_INET6 = 0, 2, 10
_SOCKADDR_IN, _SOCKADDR_IN6, _SHORTEST_IN6 = 16, 28, 24
"""SIN6_LEN_RFC2133 is the least that the kernel takes (ipv6(7))."""
_MAPPED = bytes(10) + b"\xff\xff"
_LOOPBACK, _LOOPBACK6 = bytes((127, 0, 0, 1)), bytes(15) + b"\x01"
DISCONNECT = struct.pack("=H14x", AF_UNSPEC)


def parse(given: bytes) -> tuple[bytes, bytes, int]:
    """Of a struct sockaddr: one to connect to, the host as it will be met, of 4 or 16 bytes, and the port.

    An IPv4-mapped host is that of IPv4. No address in particular is the loopback interface's (ip(7)); it is written
    out, since the kernel would choose only when it connects. The host is b"" for AF_UNSPEC, which ends a connection.
    Raises OSError, as connect(2) would.
    """
    if len(given) < 2:
        raise OSError(errno.EINVAL, "too short for an address")
    (family,) = struct.unpack_from("=H", given)
    if family == AF_UNSPEC:
        return DISCONNECT, b"", 0
    if family not in (AF_INET, AF_INET6):
        raise OSError(errno.EAFNOSUPPORT, "not of TCP")
    if len(given) < (_SOCKADDR_IN if family == AF_INET else _SHORTEST_IN6):
        raise OSError(errno.EINVAL, "too short for an address")
    (port,) = struct.unpack_from(">H", given, 2)
    if family == AF_INET:
        host = given[4:8] if any(given[4:8]) else _LOOPBACK
        return given[:4] + host + bytes(8), host, port
    host, rest = given[8:24], given[24:_SOCKADDR_IN6].ljust(4, b"\0")
    if not any(host):
        host = _LOOPBACK6
    elif host == _MAPPED + bytes(4):
        host = _MAPPED + _LOOPBACK
    return given[:8] + host + rest, host[12:] if host.startswith(_MAPPED) else host, port


def find(rules: Sequence[_Rule], host: bytes, port: int) -> str:
    """The text of the first of these rules (see `broker_rules` of the Plan) that speaks of this host and port, else ""."""
    number = int.from_bytes(host)
    for ports, _, span, text in rules:
        size = len(span) // 2
        network, mask = int.from_bytes(span[:size]), int.from_bytes(span[size:])
        if size == len(host) and number & mask == network and ports >> 16 <= port <= ports & 0xFFFF:
            return text.decode("ascii")
    return ""


def place(host: bytes, port: int) -> str:
    """`HOST:PORT`, in the usual spelling (RFC 5952)."""
    if len(host) == 4:
        return f"{'.'.join(map(str, host))}:{port}"
    text = "".join(f":{group:x}" for group in struct.unpack(">8H", host)) + ":"
    for length in range(8, 1, -1):
        zeros = ":" + "0:" * length
        if zeros in text:
            head, _, tail = text.partition(zeros)
            return f"[{head[1:]}::{tail[:-1]}]:{port}"
    return f"[{text[1:-1]}]:{port}"
