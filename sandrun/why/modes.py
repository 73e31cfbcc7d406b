"""Ordinary permissions: what owner, mode and sticky bits let the command's user do (path_resolution(7), inode(7)).

Access control lists (acl(5)) are not read: where a file has one, its group bits are only the most that it gives.
"""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from sandrun.plan.format import KEEP
from sandrun.policy.guards import CLONE_NEW
from sandrun.primitives import caps
from sandrun.why.seen import described

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sandrun.host import Account, Host, Stat
    from sandrun.plan.format import Plan

READ, WRITE, EXECUTE = 4, 2, 1
WORDS = {READ: "read", WRITE: "written", EXECUTE: "executed"}
Map = tuple[tuple[int, int, int], ...]


class Person:
    """The command's user: ids as files on the host have them, and capabilities over these."""

    def __init__(self, plan: Plan, host: Host, account: Account | None, groups: Sequence[int] | None) -> None:
        """`groups`: the caller's supplementary groups, which are the command's too; without them those of group(5)."""
        self._maps = (_id_map(plan.uid_map), _id_map(plan.gid_map))
        self._in_user_namespace = bool(plan.namespaces & CLONE_NEW["CLONE_NEWUSER"])
        self.uid = host.uid if plan.uid == KEEP else self._outside(0, plan.uid)
        self.gid = host.gid if plan.gid == KEEP else self._outside(1, plan.gid)
        if plan.set_groups:
            self.groups = frozenset(self._outside(1, group) for group in plan.groups)
        else:
            self.groups = frozenset(groups if groups is not None else host.groups_of(account) if account else ())
        # Only root gets back at execve(2) what is not ambient.
        self._capabilities = plan.permitted if plan.uid == 0 or (plan.uid == KEEP and host.uid == 0) else plan.ambient

    def may(self, found: Stat, wanted: int) -> bool:
        """Whether all of `wanted` (READ, WRITE, EXECUTE; of a directory: list, change, search) is permitted."""
        if found.uid == self.uid:
            bits = found.mode >> 6
        elif found.gid == self.gid or found.gid in self.groups:
            bits = found.mode >> 3
        else:
            bits = found.mode
        if wanted & ~bits & 7 == 0:
            return True
        if stat.S_ISDIR(found.mode):
            return self._has(found, "CAP_DAC_OVERRIDE") or (
                not wanted & WRITE and self._has(found, "CAP_DAC_READ_SEARCH")
            )
        if (not wanted & EXECUTE or found.mode & 0o111) and self._has(found, "CAP_DAC_OVERRIDE"):
            return True
        return wanted == READ and self._has(found, "CAP_DAC_READ_SEARCH")

    def may_search(self, found: Stat) -> bool:
        """Whether names in a directory may be looked up."""
        return self.may(found, EXECUTE)

    def why_not(self, found: Stat, wanted: int, path: str) -> str:
        """Why ordinary permissions refuse `wanted`, in words; "" if they do not."""
        return "" if self.may(found, wanted) else f"{path} may not be {WORDS[wanted]}: {described(found)}"

    def why_not_change(self, folder: Stat, path: str, removed: Stat | None = None) -> str:
        """Why no entry of a directory may be made, or this one not `removed`; "" if it may."""
        if not self.may(folder, WRITE | EXECUTE):
            return f"{path} may not be written: {described(folder)}"
        sticky = removed is not None and folder.mode & stat.S_ISVTX and self.uid not in (folder.uid, removed.uid)
        if sticky and removed is not None and not self._has(removed, "CAP_FOWNER"):
            return f"what others own in {path} may not be removed: the directory is sticky"
        return ""

    def _has(self, found: Stat, name: str) -> bool:
        """Whether a capability counts for this file: in a user namespace its ids must be mapped there."""
        if not self._capabilities & caps.mask((name,)):
            return False
        return not self._in_user_namespace or (_maps(self._maps[0], found.uid) and _maps(self._maps[1], found.gid))

    def _outside(self, kind: int, number: int) -> int:
        rows = self._maps[kind] if self._in_user_namespace else ()
        return next((out + number - first for first, out, size in rows if first <= number < first + size), number)


def _id_map(text: bytes) -> Map:
    """The lines of a uid_map or gid_map (user_namespaces(7)): first id inside, first id outside, how many."""
    return tuple((int(a), int(b), int(c)) for a, b, c in (line.split() for line in text.splitlines()))


def _maps(rows: Iterable[tuple[int, int, int]], number: int) -> bool:
    return any(out <= number < out + size for _, out, size in rows)
