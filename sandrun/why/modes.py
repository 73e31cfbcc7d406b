"""Ordinary permissions: what owner, mode, access control lists and sticky bits let the command's user do.

See path_resolution(7), inode(7), acl(5) and, of `fs.protected_*`, proc_sys_fs(5).
"""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from sandrun.plan.format import KEEP
from sandrun.policy.guards import CLONE_NEW
from sandrun.primitives import caps
from sandrun.why import acl
from sandrun.why.seen import described

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sandrun.host import Account, Host, Stat
    from sandrun.plan.format import Plan

READ, WRITE, EXECUTE = 4, 2, 1
WORDS = {READ: "read", WRITE: "written", EXECUTE: "executed"}
PROTECTED = "/proc/sys/fs/protected_"
EVERYBODY, GROUP_TOO = 1, 2
"""Values of protected_regular and protected_fifos: in whose sticky directories they hold."""
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
        self._host = host
        self._protected: dict[str, int] = {}
        # Only root gets back at execve(2) what is not ambient.
        self._capabilities = plan.permitted if plan.uid == 0 or (plan.uid == KEEP and host.uid == 0) else plan.ambient

    def may(self, found: Stat, wanted: int) -> bool:
        """Whether all of `wanted` (READ, WRITE, EXECUTE; of a directory: list, change, search) is permitted."""
        if self._permits(found, wanted):
            return True
        if stat.S_ISDIR(found.mode):
            return self._has(found, "CAP_DAC_OVERRIDE") or (
                not wanted & WRITE and self._has(found, "CAP_DAC_READ_SEARCH")
            )
        if (not wanted & EXECUTE or found.mode & 0o111) and self._has(found, "CAP_DAC_OVERRIDE"):
            return True
        return wanted == READ and self._has(found, "CAP_DAC_READ_SEARCH")

    def _permits(self, found: Stat, wanted: int) -> bool:
        """Without regard to capabilities."""
        # The kernel asks the list only where the group bits, which are its mask then, give anything.
        if acl.entries(found.acl) and (found.uid == self.uid or found.mode & 0o070):
            return acl.permits(found, self.uid, self.groups | {self.gid}, wanted)
        if found.uid == self.uid:
            bits = found.mode >> 6
        elif found.gid == self.gid or found.gid in self.groups:
            bits = found.mode >> 3
        else:
            bits = found.mode
        return wanted & ~bits & 7 == 0

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

    # --- fs.protected_* ---------------------------------------------------------------------------------------------

    def may_follow(self, link: Stat, folder: Stat) -> bool:
        """Whether a symbolic link at the end of a path may be followed. No capability helps."""
        is_shared = folder.mode & (stat.S_ISVTX | stat.S_IWOTH) == stat.S_ISVTX | stat.S_IWOTH
        if not is_shared or link.uid in (self.uid, folder.uid):
            return True
        return not self._sysctl("symlinks")

    def why_not_again(self, found: Stat, folder: Stat, path: str) -> str:
        """Why open(2) with O_CREAT refuses what is there already, in a sticky directory; "" if it does not."""
        name = {stat.S_IFREG: "regular", stat.S_IFIFO: "fifos"}.get(stat.S_IFMT(found.mode), "")
        if not name or not folder.mode & stat.S_ISVTX or found.uid in (self.uid, folder.uid):
            return ""
        shared = EVERYBODY if folder.mode & stat.S_IWOTH else GROUP_TOO if folder.mode & stat.S_IWGRP else 0
        if not shared or self._sysctl(name) < shared:
            return ""
        return f"{path} belongs to uid {found.uid}, and may not be opened with O_CREAT: fs.protected_{name}"

    def why_not_link(self, found: Stat, path: str) -> str:
        """Why no other hard link may be made to a file; "" if one may."""
        if found.uid == self.uid or self._has(found, "CAP_FOWNER") or not self._sysctl("hardlinks"):
            return ""
        is_safe = stat.S_ISREG(found.mode) and not found.mode & stat.S_ISUID
        is_safe = is_safe and found.mode & (stat.S_ISGID | stat.S_IXGRP) != stat.S_ISGID | stat.S_IXGRP
        if is_safe and self.may(found, READ | WRITE):
            return ""
        return f"{path} belongs to uid {found.uid}, and may not be linked to: fs.protected_hardlinks"

    def _sysctl(self, name: str) -> int:
        if name not in self._protected:
            text = (self._host.read(PROTECTED + name, 16) or b"").strip()
            self._protected[name] = int(text) if text.isdigit() else 0
        return self._protected[name]

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
