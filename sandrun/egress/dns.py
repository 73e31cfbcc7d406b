"""The DNS responder's answers. Pure but for the table, and total: every bytes object gets an answer or None.

Only names that were granted exist, and they have IPv4 addresses only (RFC 1034, 1035, 6891). Of dnspython only the
parser below its messages is used, which never reads beyond the packet. Its messages import modules by what a packet
says, which the confined relay cannot; its names would take longer to import than all else that the relay needs.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

import dns.exception
import dns.wirebase

from sandrun.egress.names import LOCALHOST, hostname, in_pool

if TYPE_CHECKING:
    from sandrun.egress.names import Table

MAX_QUERY = 4096
"""Longer ones are not answered."""
TTL = 30
UDP_PAYLOAD = 1232
MAX_LABEL, MAX_NAME = 63, 255

HEADER = struct.Struct("!HHHHHH")
RECORD = struct.Struct("!HHIH")
QR, TC, RD, RA, CD = 0x8000, 0x0200, 0x0100, 0x0080, 0x0010
OPCODE = 0x7800
NOERROR, FORMERR, NXDOMAIN, NOTIMP, REFUSED, BADVERS = 0, 1, 3, 4, 5, 16
A, PTR, OPT = 1, 12, 41
IN = 1
DNSSEC_OK = 0x8000
TO_QUESTION = b"\xc0\x0c"
"""A pointer to the name in the question, which stands right behind the header."""
REVERSE = (b"in-addr", b"arpa")


class Query(NamedTuple):
    """A question that can be answered."""

    labels: tuple[bytes, ...]
    type: int
    cls: int
    question: bytes
    edns: int
    """The version and flags of the OPT record (RFC 6891, its TTL field); -1 = there is none."""


def answer(wire: bytes, table: Table) -> bytes | None:
    """The response to a query, both without the length prefix of TCP; None = say nothing. At most 512 bytes.

    Never raises. Names not granted do not exist (NXDOMAIN) and are told to the table's `refused`.
    """
    if not HEADER.size <= len(wire) <= MAX_QUERY:
        return None
    number, flags, *counts = HEADER.unpack_from(wire)
    if flags & QR:
        return None  # answering answers could go on for ever
    kept = QR | RA | flags & (OPCODE | RD | CD)
    if flags & OPCODE:
        return HEADER.pack(number, kept | NOTIMP, 0, 0, 0, 0)
    query = None if flags & TC else _parse(wire, tuple(counts))
    if query is None:
        return HEADER.pack(number, kept | FORMERR, 0, 0, 0, 0)
    code, record = _look(query, table)
    extra = b""
    if query.edns >= 0:
        ttl = code >> 4 << 24 | query.edns & DNSSEC_OK
        extra = b"\0" + RECORD.pack(OPT, UDP_PAYLOAD, ttl, 0)
    head = HEADER.pack(number, kept | code & 15, 1, 1 if record else 0, 0, 1 if extra else 0)
    return head + query.question + record + extra


def _parse(wire: bytes, counts: tuple[int, ...]) -> Query | None:
    """The query of a message with one question and at most an OPT record besides; None if it is anything else."""
    questions, answers, authorities, additional = counts
    if questions != 1 or answers or authorities or additional > 1:
        return None
    parser = dns.wirebase.Parser(wire, HEADER.size)
    edns = -1
    try:
        labels = _labels(parser)
        kind, cls = parser.get_struct("!HH")
        question = wire[HEADER.size : parser.current]
        if additional:
            owner = parser.get_uint8()
            record, _payload, edns, length = parser.get_struct("!HHIH")
            parser.get_bytes(length)
            if owner or record != OPT:
                return None
    except dns.exception.FormError:
        return None
    if parser.remaining():
        return None
    return Query(labels, kind, cls, question, edns)


def _labels(parser: dns.wirebase.Parser) -> tuple[bytes, ...]:
    """The name of the question, without the root. Raises FormError: also for a compressed one, since nothing stands
    before it that it could point to."""
    labels = []
    while length := parser.get_uint8():
        if length > MAX_LABEL:
            raise dns.exception.FormError
        labels.append(parser.get_bytes(length))
    if parser.current - HEADER.size > MAX_NAME:
        raise dns.exception.FormError
    return tuple(labels)


def _look(query: Query, table: Table) -> tuple[int, bytes]:
    """The response code, and the record that answers or b""."""
    if query.edns >= 0 and query.edns >> 16 & 255:
        return BADVERS, b""
    if query.cls != IN:
        return NOTIMP, b""
    lower = tuple(label.lower() for label in query.labels)
    if query.type == PTR and lower[-2:] == REVERSE:
        return _reverse(lower[:-2], table)
    name = hostname(query.labels)
    if not name:
        table.refused(_shown(query.labels), "not a host name")
        return NXDOMAIN, b""
    if not table.has(name):
        return NXDOMAIN, b""
    if query.type != A:
        return NOERROR, b""
    address = table.address_of(name)
    if not address:
        return REFUSED, b""
    return NOERROR, TO_QUESTION + RECORD.pack(A, IN, TTL, 4) + address.to_bytes(4, "big")


def _reverse(labels: tuple[bytes, ...], table: Table) -> tuple[int, bytes]:
    """The name that an address inside stands for. Only addresses elsewhere are told to `refused`: the command asks
    about those inside because they came from here."""
    address = _address(labels)
    name = "localhost" if address == LOCALHOST else table.name_of(address)
    if not name:
        if not in_pool(address):
            table.refused(_shown((*labels, *REVERSE)), "not granted")
        return NXDOMAIN, b""
    data = b"".join(bytes((len(label),)) + label for label in (*name.encode("ascii").split(b"."), b""))
    return NOERROR, TO_QUESTION + RECORD.pack(PTR, IN, TTL, len(data)) + data


def _shown(labels: tuple[bytes, ...]) -> str:
    """A name that may hold anything, with the escapes of zone files (RFC 1035, 5.1)."""
    return ".".join("".join(map(_escaped, label)) for label in labels) or "."


def _escaped(byte: int) -> str:
    if byte in b".\\":
        return "\\" + chr(byte)
    return chr(byte) if 0x20 < byte < 0x7F else f"\\{byte:03}"


def _address(octets: tuple[bytes, ...]) -> int:
    """The IPv4 address of four labels, the last octet first; 0 if they are none."""
    if len(octets) != 4 or not all(octet.isdigit() and len(octet) <= 3 and int(octet) < 256 for octet in octets):
        return 0
    return int.from_bytes(bytes(int(octet) for octet in reversed(octets)), "big")
