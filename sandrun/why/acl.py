"""POSIX access control lists, as the kernel keeps them in an extended attribute (acl(5), xattr(7)). Pure."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from sandrun.host import Stat

USER_OBJ, USER, GROUP_OBJ, GROUP, MASK, OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
VERSION = 2
_HEAD, _ENTRY = struct.Struct("<I"), struct.Struct("<HHI")


def entries(data: bytes) -> tuple[tuple[int, int, int], ...]:
    """(tag, permissions, id) of each entry of the attribute `system.posix_acl_access`; () for what is none."""
    if len(data) < _HEAD.size or _HEAD.unpack_from(data)[0] != VERSION or (len(data) - _HEAD.size) % _ENTRY.size:
        return ()
    return tuple(_ENTRY.iter_unpack(data[_HEAD.size :]))


def permits(found: Stat, uid: int, groups: Collection[int], wanted: int) -> bool:
    """Whether the list of a file gives all of `wanted` to this user: the access check algorithm of acl(5)."""
    listed = entries(found.acl)
    mask = next((bits for tag, bits, _ in listed if tag == MASK), 7)
    if uid == found.uid:
        return any(tag == USER_OBJ and wanted & ~bits == 0 for tag, bits, _ in listed)
    named = [bits & mask for tag, bits, number in listed if tag == USER and number == uid]
    if named:
        return wanted & ~named[0] == 0
    mine = [bits & mask for bits in _of_groups(listed, found.gid, groups)]
    if mine:
        # One entry has to give all of it: what two give together does not count.
        return any(wanted & ~bits == 0 for bits in mine)
    return any(tag == OTHER and wanted & ~bits == 0 for tag, bits, _ in listed)


def _of_groups(listed: tuple[tuple[int, int, int], ...], owner: int, groups: Collection[int]) -> Iterator[int]:
    for tag, bits, number in listed:
        if (tag == GROUP_OBJ and owner in groups) or (tag == GROUP and number in groups):
            yield bits
