"""The path rules of a plan, by file. Pure, over a Host."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sandrun.host import Host
    from sandrun.plan.format import Plan
    from sandrun.why.seen import Seen, Spot


class Rules:
    """The path rules of a plan, found as the kernel finds them: by file, so that hard links and bind mounts are seen."""

    def __init__(self, plan: Plan, seen: Seen, host: Host) -> None:
        self._seen = seen
        self.handled = plan.landlock_fs
        self._by_file: dict[object, list[tuple[int, str]]] = {}
        for access, _, path in plan.path_rules:
            name = os.fsdecode(path)
            found = host.lstat(name)
            self._add((found.dev, found.ino) if found else name, access, name)
        for access, _, path in plan.view_rules:
            name = os.fsdecode(path)
            self._add(_key(seen.at(name)), access, name)

    def _add(self, key: object, access: int, name: str) -> None:
        self._by_file.setdefault(key, []).append((access, name))

    def on(self, path: str) -> tuple[int, list[tuple[int, str]]]:
        """The rights at a canonical path of the command's, and the rules that give them, the nearest first."""
        rules = [rule for spot in self._seen.upwards(path) for rule in self._by_file.get(_key(spot), ())]
        rights = ~self.handled
        for access, _ in rules:
            rights |= access
        return rights, rules


def _key(spot: Spot) -> object:
    """What tells one file from another: device and inode; of what is yet to be made its name on the host."""
    identity = spot.identity
    if identity is not None and identity != (0, 0):
        return identity
    return spot.source if identity is not None else ("view", spot.path)
