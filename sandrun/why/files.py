"""What a plan answers to reading, writing, executing, making and removing a file, and why. Pure, over a Host."""

from __future__ import annotations

import errno
import os
import posixpath
import stat
from typing import TYPE_CHECKING, NamedTuple

from sandrun import elf
from sandrun.elf import MOST_SCRIPTS
from sandrun.plan.siblings import is_below
from sandrun.primitives.landlock import FS
from sandrun.primitives.view import VIEW_OVERLAY
from sandrun.why import modes
from sandrun.why.answer import Answer
from sandrun.why.entries import best
from sandrun.why.rules import Rules

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandrun.host import Host, Stat
    from sandrun.plan.format import Plan
    from sandrun.why.entries import Entries, Entry
    from sandrun.why.modes import Person
    from sandrun.why.seen import Seen, Spot, Way

ACTS = ("read", "write", "execute", "create", "remove")
OF_ENTRIES = sum(bit for name, bit in FS.items() if name.startswith(("make_", "remove_"))) | FS["refer"]
"""The rights that Landlock asks of the directory that an entry is made in or removed from."""
CHANGING = OF_ENTRIES | FS["write_file"] | FS["truncate"]
NEW = FS["make_reg"] | FS["write_file"]
O_WRONLY, O_CREAT = os.O_WRONLY, os.O_CREAT
CALLS: dict[str, tuple[tuple[str, tuple[int, ...]], ...]] = {
    "read": (("openat", ()), ("open", ())),
    "write": (("openat", (0, 0, O_WRONLY)), ("open", (0, O_WRONLY))),
    "create": (("openat", (0, 0, O_WRONLY | O_CREAT, 0o666)), ("open", (0, O_WRONLY | O_CREAT, 0o666))),
    "execute": (("execve", ()),),
    "remove": (("unlinkat", ()), ("unlink", ())),
}
"""The syscalls by which each act is done; where the filters refuse all of them, nothing else counts."""


class Target(NamedTuple):
    """What one act is about: the spot whose rights count, those rights, and the way to it."""

    act: str
    way: Way
    spot: Spot
    rights: int

    @property
    def changes(self) -> bool:
        """Whether a read-only mount stands against it. It does not where a device or pipe is opened to be written."""
        kind = stat.S_IFMT(self.spot.found.mode) if self.spot.found else stat.S_IFREG
        return bool(self.rights & CHANGING) and kind in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK)

    @property
    def is_device(self) -> bool:
        found = self.spot.found
        return found is not None and stat.S_IFMT(found.mode) in (stat.S_IFCHR, stat.S_IFBLK)


class Files:
    """The questions about files."""

    def __init__(
        self, plan: Plan, seen: Seen, host: Host, person: Person, entries: Entries, refused: Callable[..., bool]
    ) -> None:
        """`refused(name, arguments)`: whether the filters refuse this syscall."""
        self._plan = plan
        self._seen = seen
        self._host = host
        self._person = person
        self._entries = entries
        self._shut = frozenset(
            act for act, calls in CALLS.items() if all(refused(name, arguments) for name, arguments in calls)
        )
        """The acts that the filters refuse."""
        self._rules = Rules(plan, seen, host)

    def ask(self, act: str, path: str, rights: int = 0) -> Answer:
        """See `Judge.file`."""
        return self._answer(act, path, rights, MOST_SCRIPTS)

    def lets(self, act: str, path: str, rights: int = 0) -> bool:
        """See `Judge.lets`."""
        target = self._target(act, path, rights)
        if act == "execute":
            return self.ask(act, path, rights).granted
        return not self._walls(target)

    def _answer(self, act: str, path: str, rights: int, left: int) -> Answer:
        target = self._target(act, path, rights)
        walls = self._walls(target)
        ordinary = self._ordinary(target, asked=rights)
        entries, reason = self._why_refused(target, walls) if walls else self._why_granted(target)
        if act == "execute" and not walls and not ordinary and left:
            needed = self._interpreter(target.way.spot)
            other = self._answer("execute", needed, 0, left - 1) if needed else None
            if other and not other.granted:
                walls, entries, reason = other.mechanisms, other.entries, f"it starts with {needed}: {other.reason}"
            elif other:
                ordinary = other.ordinary and f"it starts with {needed}: {other.ordinary}"
        return Answer(f"{act} {path}", not walls, reason, entries, walls, ordinary, self._notes(target, path))

    def _interpreter(self, spot: Spot) -> str:
        """The program that execve(2) starts for this one: of its `#!` line, or its loader; "" if it needs none."""
        head = self._host.read(spot.source, elf.SCRIPT_HEAD) if spot.source else None
        if head and head.startswith(b"#!"):
            return next(iter(elf.script_words(head)), "")
        program = elf.parse(spot.source, self._host) if head else None
        return program.interpreter if program else ""

    def _target(self, act: str, path: str, rights: int) -> Target:
        way = self._seen.walk(path, self._person.may_search, self._person.may_follow, follow=act != "remove")
        spot = way.spot
        if rights:
            on_folder = rights & OF_ENTRIES and (spot.found is None or not rights & ~OF_ENTRIES)
            return Target(act, way, (way.folder or spot) if on_folder else spot, rights)
        if act == "write" and spot.found is None:
            act = "create"
        if act == "create":
            return Target(act, way, (way.folder or spot) if spot.found is None else spot, NEW)
        if act == "remove":
            right = FS["remove_dir" if spot.is_directory else "remove_file"]
            return Target(act, way, way.folder or spot, right)
        if act == "write":
            return Target(act, way, spot, NEW if spot.is_directory else FS["write_file"])
        if act == "execute":
            return Target(act, way, spot, FS["execute"])
        return Target(act, way, spot, FS["read_dir"] if spot.is_directory else FS["read_file"])

    # --- the plan ---------------------------------------------------------------------------------------------------

    def _walls(self, target: Target) -> tuple[str, ...]:
        """The mechanisms that refuse it, each of which alone is enough."""
        walls = []
        if self._is_hidden(target):
            walls.append("mount")
        if target.rights & ~self._rules.on(target.spot.path)[0]:
            walls.append("landlock")
        closed = (target.changes and target.spot.read_only) or (target.is_device and not target.spot.devices)
        if "mount" not in walls and (closed or (target.act == "execute" and not target.spot.execute)):
            walls.append("mount")
        if target.act in self._shut:
            walls.append("seccomp")
        return tuple(walls)

    def _is_hidden(self, target: Target) -> bool:
        """Whether something of the host's is meant, and the command finds another thing there or nothing.

        What can be made in a place of the command's own is not the host's, but it is no less made.
        """
        spot, folder = target.way.spot, target.way.folder
        is_new = target.act in ("write", "create") and folder is not None and folder.is_directory
        return spot.masked or (self._is_gone(spot) and not is_new)

    def _is_gone(self, spot: Spot) -> bool:
        return spot.found is None and not spot.source and self._entries.host.lstat(spot.path) is not None

    def _names(self, path: str) -> tuple[str, ...]:
        """The names by which entries may speak of a spot: the command's, and those that the host's file has."""
        source = self._seen.at(path).source
        return tuple(dict.fromkeys((path, *(self._entries.inside(source) if source else ()))))

    def _why_granted(self, target: Target) -> tuple[tuple[Entry, ...], str]:
        lacking = target.rights & self._rules.handled
        if not lacking:
            entries = best(self._entries.grants, self._names(target.spot.path), target.rights)
            return entries, f"granted by {entries[0]}" if entries else "nothing here keeps the command from it"
        paths = [name for access, name in self._rules.on(target.spot.path)[1] if access & lacking]
        names = [name for path in paths for name in (path, *self._entries.inside(path))]
        entries = best(self._entries.grants, names, lacking)
        if not entries or target.spot.is_place:
            entries = best(self._entries.hiding, names, lacking) or entries
        if not entries:
            return (), f"granted with {paths[0]}, which the command cannot do without"
        also = f", and {entries[1]}" if len(entries) > 1 else ""
        return entries, f"granted by {entries[0]}{also}"

    def _why_refused(self, target: Target, walls: tuple[str, ...]) -> tuple[tuple[Entry, ...], str]:
        path = target.way.spot.path
        names = dict.fromkeys((*self._names(path), *self._names(target.spot.path)))
        denied = best(self._entries.denials, (*names, *self._aliases(path)), target.rights)
        if denied:
            return denied[:1], f"denied by {denied[0]}"
        if walls == ("seccomp",):
            return (), "the filters refuse the system calls that do it"
        hidden = best(self._entries.hiding, names, -1)
        if hidden and "mount" in walls and (self._is_hidden(target) or self._is_gone(target.way.spot)):
            return hidden[:1], f"hidden by {hidden[0]}, and no entry grants it"
        granted = best(self._entries.grants, names, target.rights)
        if not granted or _rights(self._entries, granted, target.rights) & target.rights != target.rights:
            kept = best(self._entries.hiding, names, target.rights) if target.spot.is_place else ()
            return kept[:1], f"{kept[0]} keeps it from being changed" if kept else "no entry grants it"
        return self._why_not_granted(target, granted)

    def _why_not_granted(self, target: Target, granted: tuple[Entry, ...]) -> tuple[tuple[Entry, ...], str]:
        """An entry names it, and yet it is refused: a hole in it, something hidden around it, or what no group grants."""
        folder = target.spot.path
        for claim in (*self._entries.denials, *self._entries.hiding):
            if claim.rights & target.rights and any(is_below(name, folder) and name != folder for name in claim.names):
                text = f"{claim.entry} lies in {folder}, so {granted[0]} cannot hold for the directory itself"
                return (claim.entry,), text
        hidden = [claim.entry for claim in self._entries.hiding if claim.longest((folder,)) >= 0]
        if hidden:
            return tuple(hidden[:1]), f"hidden by {hidden[0]}, which takes it out of {granted[0]}"
        if target.changes and target.spot.read_only:
            return (
                (),
                f"{folder} stays read-only: the next launch of sandrun trusts it, or so it is mounted on the host",
            )
        if target.is_device and not target.spot.devices:
            return (), f"{granted[0]} opens no devices"
        if granted[0].text.startswith("@"):
            return (), f"{granted[0]} leaves out what others may not read"
        return (), f"{granted[0]} does not hold for it here: see the notes of --dry-run"

    def _aliases(self, path: str) -> tuple[str, ...]:
        """The names in denials that are this very file, or a directory above it, by device and inode."""
        identities = {spot.identity for spot in self._seen.upwards(path)} - {None}
        found = []
        for claim in self._entries.denials:
            for name in claim.names:
                status = self._host.lstat(name)
                if status is not None and (status.dev, status.ino) in identities:
                    found.append(name)
        return tuple(found)

    # --- ordinary permissions ---------------------------------------------------------------------------------------

    def _ordinary(self, target: Target, *, asked: int) -> str:
        """Why owner, mode, or what is there refuse it; "" if they do not."""
        way, spot = target.way, target.way.spot
        if self._is_hidden(target):
            found = self._entries.host.lstat(spot.path)
            return self._ordinary_open(target, found, asked) if found else ""
        if way.trouble:
            return way.trouble
        if spot.is_own:
            return ""
        if target.act == "read" and asked == FS["refer"] and spot.found is not None:
            return self._person.why_not_link(spot.found, spot.path)
        if asked & OF_ENTRIES or target.act == "create" or target.rights == NEW:
            return self._ordinary_new(target, asked)
        if spot.found is None:
            return f"there is no {spot.path}"
        if way.slash and not spot.is_directory:
            return f"{spot.path} is not a directory"
        if target.act == "remove":
            return self._ordinary_removal(way)
        again = ""
        if target.act == "write" and not asked and way.folder is not None and way.folder.found is not None:
            # As shells and most programs open a file to write it.
            again = self._person.why_not_again(spot.found, way.folder.found, spot.path)
        return self._ordinary_open(target, spot.found, asked) or again

    def _ordinary_open(self, target: Target, found: Stat, asked: int) -> str:
        path = target.way.spot.path
        kind = stat.S_IFMT(found.mode)
        if kind == stat.S_IFSOCK and not asked:
            return f"{path} is a socket, which cannot be opened"
        if target.act == "execute":
            if kind != stat.S_IFREG:
                return f"{path} is not a file that can be executed"
            return self._person.why_not(found, modes.EXECUTE, path)
        if target.act in ("write", "create", "remove"):
            return self._person.why_not(found, modes.WRITE, path)
        return self._person.why_not(found, modes.READ, path)

    def _ordinary_new(self, target: Target, asked: int) -> str:
        spot, folder = target.way.spot, target.way.folder
        if not asked and target.act == "write" and spot.is_directory:
            folder = spot  # to write a directory is to make something in it
        elif not asked and spot.found is not None:
            return f"{spot.path} is there already"
        elif not asked and target.way.slash:
            return f"{spot.path}/ cannot be made as a file"
        if folder is None or folder.found is None:
            return f"there is no directory for {spot.path}"
        removed = spot.found if target.act == "remove" else None
        return self._person.why_not_change(folder.found, folder.path, removed)

    def _ordinary_removal(self, way: Way) -> str:
        folder, spot = way.folder, way.spot
        if folder is None or folder.found is None or spot.path == "/":
            return f"{spot.path} cannot be removed"
        if self._seen.is_mount_point(spot):
            return f"{spot.path} is a mount point: {os.strerror(errno.EBUSY)}"
        if spot.is_directory and spot.source and self._host.listdir(spot.source):
            return f"{spot.path} is not empty"
        return self._person.why_not_change(folder.found, folder.path, spot.found)

    # --- what else is worth knowing ---------------------------------------------------------------------------------

    def _notes(self, target: Target, path: str) -> tuple[str, ...]:
        spot = target.way.spot
        notes = []
        if spot.path != posixpath.normpath(posixpath.join(self._seen.cwd, path)):
            notes.append(f"{path} leads to {spot.path}")
        if spot.is_own:
            notes.append("what is there belongs to the command's own processes")
        elif spot.masked:
            notes.append("something empty covers it")
        elif spot.is_place and not self._is_hidden(target):
            notes.append("it is in a place of the command's own, and not the host's")
        elif spot.operation == VIEW_OVERLAY and target.rights & CHANGING:
            notes.append("the change goes to a workspace, and not to the host")
        if target.act == "remove" and spot.is_directory and spot.source and self._host.listdir(spot.source) is None:
            notes.append("it is not known whether it is empty: it may not be listed")
        private = " and ".join(map(os.fsdecode, self._plan.private_dirs))
        if private and not spot.source:
            notes.append(f"what {private} names is made for each launch, and not known here")
        return tuple(notes)


def _rights(entries: Entries, chosen: tuple[Entry, ...], rights: int) -> int:
    """All that these entries give."""
    found = 0
    for claim in entries.grants:
        found |= claim.rights & rights if claim.entry in chosen else 0
    return found
