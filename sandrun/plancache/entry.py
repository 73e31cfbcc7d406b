"""How an entry looks: what sandrun/native/cache.c reads. LIGHT.

An entry is `MAGIC version:u32 sum:u64` and records `tag:u16 length:u32 payload`, little-endian as those of a Plan: its
own name, the salt, the facts, and what is launched: the plan, the values of `Plan.env_set` (each `length:u32 bytes`), the
flags of the launch, the event `planned` where there is a descriptor for it.
"""

from __future__ import annotations

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    Kept = tuple[bytes, list[bytes], int, bytes]
    """Plan, values, flags and event."""

MAGIC = b"SRCACHE\0"
VERSION = 6
FLAG_EXEC, FLAG_FOOTER, FLAG_PYTHON = 1, 2, 8
"""No supervisor; a failure is explained on a terminal; the supervisor is Python's."""
PLAN, RECORDS = 3, 7
"""The first record of what is launched, and the number of all."""
PRIME = 2**61 - 1
_HEAD = struct.Struct("<8sIQ")


def entry(
    name: str, salt: bytes, facts: bytes, plan: bytes, values: Iterable[bytes], flags: int, planned: bytes = b""
) -> bytes:
    """The bytes of an entry."""
    texts = b"".join(struct.pack("<I", len(value)) + value for value in values)
    records = (bytes.fromhex(name), salt, facts, plan, texts, struct.pack("<Q", flags), planned)
    body = b"".join(struct.pack("<HI", tag, len(record)) + record for tag, record in enumerate(records))
    return _HEAD.pack(MAGIC, VERSION, checksum(body)) + body


def checksum(data: bytes) -> int:
    """A sum that differs if one byte does: a disk's mistake, since nobody else writes here. Without a loop in Python."""
    return int.from_bytes(data, "little") % PRIME ^ len(data)


def parse(data: bytes, name: str) -> tuple[bytes, bytes, Kept] | None:
    """Salt, facts and what is launched, of an entry of this name; None if that is not what the bytes are."""
    body = data[_HEAD.size :]
    if data[: _HEAD.size] != _HEAD.pack(MAGIC, VERSION, checksum(body)):
        return None
    try:
        (own, salt, facts), rest = _records(body, range(PLAN))
        kept = parse_kept(rest)
    except struct.error:
        return None
    return (salt, facts, kept) if own.hex() == name else None


def parse_kept(data: bytes) -> Kept:
    """What is launched, of its records as they stand in an entry. Raises struct.error if that is not what the bytes are."""
    (plan, values, flags, planned), rest = _records(data, range(PLAN, RECORDS))
    texts = []
    while values:
        (size,) = struct.unpack_from("<I", values)
        texts.append(values[4 : 4 + size])
        values = values[4 + size :]
    (number,) = struct.unpack("<Q", flags)
    if rest:
        raise struct.error
    return plan, texts, number, planned


def _records(data: bytes, tags: range) -> tuple[list[bytes], bytes]:
    """The payloads of the records with these tags, and what follows them."""
    found = []
    at = 0
    for expected in tags:
        tag, size = struct.unpack_from("<HI", data, at)
        at += 6 + size
        if tag != expected or at > len(data):
            raise struct.error
        found.append(data[at - size : at])
    return found, data[at:]
