"""The tree that the command sees: a name → what is there, and the way that leads to it. Pure, over a Host.

Where the plan has a view, a name means what the mounts of its records show there, and only that; the kernel walks names
as it does everywhere (path_resolution(7)), so links and `..` are followed here a name at a time.
"""

from __future__ import annotations

import os
import posixpath
import stat
from typing import TYPE_CHECKING, NamedTuple

from sandrun.host import Stat
from sandrun.plan.format import KEEP
from sandrun.plan.siblings import is_below
from sandrun.plan.view import EMPTY_FILE
from sandrun.primitives.view import (
    DEVICES,
    MODE,
    NO_EXECUTE,
    OWNED,
    READ_ONLY,
    SEALED,
    VIEW_BIND,
    VIEW_CHROOT,
    VIEW_CONTENT,
    VIEW_DEVPTS,
    VIEW_DIRECTORY,
    VIEW_FILE,
    VIEW_OVERLAY,
    VIEW_PROC,
    VIEW_ROOT,
    VIEW_SYMLINK,
    VIEW_TMPFS,
    VIEW_TREE,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sandrun.host import Host
    from sandrun.plan.format import Plan

    Record = tuple[int, int, str, str]

MOST_LINKS = 40
"""As the kernel's MAXSYMLINKS (path_resolution(7))."""
MADE = {VIEW_DIRECTORY: stat.S_IFDIR, VIEW_FILE: stat.S_IFREG, VIEW_SYMLINK: stat.S_IFLNK}
"""Records that make something in a filesystem of the view, and what."""
OF_HOST = (VIEW_TREE, VIEW_BIND, VIEW_ROOT, VIEW_CHROOT, VIEW_OVERLAY, VIEW_PROC)
WHOLE = (-1, 0, "/", "")
"""The record of a plan without a view: the host's tree as it is."""
MOST_MOUNTS, PART = 1 << 20, 1 << 16


class Spot(NamedTuple):
    """What the command finds at one canonical path. `found` is None where nothing is, or nobody can say.

    `source` is the host's path of it, "" where it is a file of the view. `operation` is the VIEW_* that shows it, -1
    without a view. `masked`: something empty covers what is denied. `is_own`: a directory of processes, which are the
    command's own and not known here.
    """

    path: str
    found: Stat | None
    operation: int
    source: str = ""
    target: str = ""
    """What a symbolic link says."""
    read_only: bool = False
    devices: bool = True
    execute: bool = True
    masked: bool = False
    is_own: bool = False

    @property
    def is_directory(self) -> bool:
        return self.found is not None and stat.S_ISDIR(self.found.mode)

    @property
    def is_place(self) -> bool:
        """Whether it lies in a filesystem of the command's own, where nothing of the host's can be."""
        return self.operation in (VIEW_TMPFS, VIEW_DEVPTS, VIEW_CONTENT)

    @property
    def identity(self) -> tuple[int, int] | None:
        """The (device, inode) by which Landlock's rules on the host's files find it."""
        if self.found is None or not self.source or self.operation in (VIEW_OVERLAY, VIEW_PROC):
            return None
        return self.found.dev, self.found.ino


class Way(NamedTuple):
    """Where a path leads. `trouble` says why it cannot be gone by ordinary permissions, "" if it can.

    `folder` is the directory that the last name lies in, None if there is none.
    """

    spot: Spot
    folder: Spot | None
    trouble: str = ""
    slash: bool = False
    """The path ends in a slash, which only a directory may."""


class Seen:
    """The command's tree under one plan. What the host answers is remembered: the same directories lead to many paths."""

    def __init__(self, plan: Plan, host: Host) -> None:
        self._host = host
        self._owner = (host.uid, host.gid)
        self._own = (host.uid if plan.uid == KEEP else plan.uid, host.gid if plan.gid == KEEP else plan.gid)
        self._mounts: dict[str, Record] = {}
        self._made: dict[str, Record] = {}
        self._folders: set[str] = set()
        self._created = dict(_created(plan))
        self._host_mounts = _host_mounts(host)
        self._host_flags = tuple(_host_flags(self._host_mounts))
        self._spots: dict[str, Spot] = {}
        top = ""
        for operation, flags, path, source in plan.view:
            name = os.fsdecode(path)
            if operation == VIEW_ROOT:
                top = os.fsdecode(source)
            shown = path if operation == VIEW_OVERLAY else source
            if operation == VIEW_OVERLAY:
                name = name[len(top.rstrip("/")) :] or "/"
            text = "" if operation in (VIEW_TMPFS, VIEW_FILE, VIEW_CONTENT) else os.fsdecode(shown)
            (self._made if operation in MADE else self._mounts)[name] = (operation, flags, name, text)
            while (name := posixpath.dirname(name)) not in self._folders:
                self._folders.add(name)
        self._mounts.setdefault("/", WHOLE)
        self.cwd = os.fsdecode(plan.cwd) or host.cwd or "/"

    def at(self, path: str) -> Spot:
        """What is at a canonical path, whether it can be reached or not."""
        known = self._spots.get(path)
        if known is None:
            known = self._spots[path] = self._look(path)
        return known

    def is_mount_point(self, spot: Spot) -> bool:
        """Whether something is mounted there: by the view, or by the host, whose mounts come with their directories."""
        if spot.path in self._mounts:
            return True
        mounts = self._host_mounts
        return any(mount.point == spot.source and _is_uncovered(mounts, at) for at, mount in enumerate(mounts))

    def upwards(self, path: str) -> Iterator[Spot]:
        """What is at a canonical path and at each one above it, as Landlock walks."""
        while True:
            yield self.at(path)
            if path == "/":
                return
            path = posixpath.dirname(path)

    def walk(
        self,
        path: str,
        may_search: Callable[[Stat], bool],
        may_follow: Callable[[Stat, Stat], bool],
        *,
        follow: bool = True,
    ) -> Way:
        """Where a path leads as the command names it; `follow`: through a link at its end too.

        `may_follow(link, directory)`: whether a link at the end may be followed (fs.protected_symlinks).
        """
        left = [name for name in posixpath.join(self.cwd, path).split("/") if name][::-1]
        slash = path.endswith("/")
        here = self.at("/")
        folder: Spot | None = here
        trouble = ""
        links = 0
        while left:
            name = left.pop()
            if here.found is not None and not may_search(here.found):
                trouble = trouble or f"{here.path} may not be searched: {described(here.found)}"
            folder = here
            if name in (".", ".."):
                here = self.at(posixpath.dirname(here.path)) if name == ".." else here
                continue
            here = self.at(posixpath.join(here.path, name))
            if here.found is not None and stat.S_ISLNK(here.found.mode) and (left or follow or slash):
                links += 1
                # Of links on the way the kernel asks nothing (may_follow_link() in fs/namei.c).
                if not left and folder.found is not None and not may_follow(here.found, folder.found):
                    trouble = trouble or f"{here.path} may not be followed: fs.protected_symlinks"
                if links > MOST_LINKS:
                    return Way(here, folder, trouble or f"too many links on the way: {path}", slash)
                slash = slash or (not left and here.target.endswith("/"))
                left += [part for part in here.target.split("/") if part][::-1]
                here = self.at("/") if here.target.startswith("/") else folder
                continue
            if left and here.is_own:
                return Way(self.at(posixpath.join(here.path, *left[::-1])), here, trouble, slash)
            if left and not here.is_directory:
                what = "there is no" if here.found is None else "it is not a directory:"
                return Way(self.at(posixpath.join(here.path, *left[::-1])), None, trouble or f"{what} {here.path}")
        return Way(here, folder, trouble, slash)

    def _look(self, path: str) -> Spot:
        point = path
        while point not in self._mounts:
            point = posixpath.dirname(point)
        operation, flags, _, source = self._mounts[point]
        rest = path[len(point.rstrip("/")) :]
        spot = Spot(
            path,
            None,
            operation,
            read_only=bool(flags & (READ_ONLY | SEALED)),
            devices=operation == -1 or bool(flags & DEVICES),
            execute=not flags & NO_EXECUTE,
        )
        if operation == VIEW_TMPFS:
            masked = not flags & MODE
            return self._in_place(spot._replace(masked=masked), flags if path == point else None)
        if operation in (VIEW_DEVPTS, VIEW_CONTENT):
            kind = stat.S_IFDIR | 0o755 if operation == VIEW_DEVPTS else stat.S_IFREG | 0o644
            return spot._replace(found=self._stat(kind, 0) if path == point else None)
        if operation == VIEW_PROC and _is_process(rest):
            return spot._replace(found=self._stat(stat.S_IFDIR | 0o555, 0), source=f"/proc{rest}", is_own=True)
        base = {VIEW_TREE: "", -1: "", VIEW_PROC: "/proc"}.get(operation, source)
        return self._of_host(spot, posixpath.normpath(base.rstrip("/") + rest or "/"), point)

    def _of_host(self, spot: Spot, source: str, point: str) -> Spot:
        found = self._host.lstat(source)
        if found is None and source in self._created:
            kind = stat.S_IFDIR | 0o755 if self._created[source] else stat.S_IFREG | 0o644
            found = Stat(kind, 0, 0, 1, *self._own)
        if found is not None and not stat.S_ISLNK(found.mode):
            found = found._replace(acl=self._host.acl(source))
        target = self._host.readlink(source) if found is not None and stat.S_ISLNK(found.mode) else None
        masked = spot.operation == VIEW_BIND and source == EMPTY_FILE != point and not spot.devices
        flags = next((flags for top, *flags in self._host_flags if is_below(source, top)), (False, True, True))
        return spot._replace(
            found=found,
            source=source,
            target=target or "",
            masked=masked,
            read_only=spot.read_only or flags[0],
            devices=spot.devices and flags[1],
            execute=spot.execute and flags[2],
        )

    def _in_place(self, spot: Spot, flags: int | None) -> Spot:
        """In a filesystem of the view there is what its records make, with the directories above that."""
        if flags is not None:
            return spot._replace(found=self._stat(stat.S_IFDIR | flags & MODE, flags))
        if spot.path in self._made:
            operation, own, _, source = self._made[spot.path]
            mode = own & MODE if operation != VIEW_SYMLINK else 0o777
            target = source if operation == VIEW_SYMLINK else ""
            return spot._replace(found=self._stat(MADE[operation] | mode, own), target=target)
        if spot.path in self._folders:
            return spot._replace(found=self._stat(stat.S_IFDIR | 0o755, 0))
        return spot

    def _stat(self, mode: int, flags: int) -> Stat:
        return Stat(mode, 0, 0, 1, *(self._own if flags & OWNED else self._owner))


def _created(plan: Plan) -> Iterator[tuple[str, bool]]:
    """What a launch makes where it is absent, and whether that is a directory; directories come with their parents."""
    for path in map(os.fsdecode, plan.create):
        name = path.rstrip("/")
        yield name, path.endswith("/")
        while path.endswith("/") and (name := posixpath.dirname(name)) != "/":
            yield name, True


def described(found: Stat) -> str:
    """Owner and mode, for a message."""
    return f"it belongs to uid {found.uid} and gid {found.gid}, mode {stat.S_IMODE(found.mode):04o}"


def _is_process(rest: str) -> bool:
    name = rest[1:].partition("/")[0]
    return name in ("self", "thread-self") or name.isdecimal()


class _HostMount(NamedTuple):
    """A line of proc_pid_mountinfo(5): the ids of the mount and of that which it is in, its point, and its options."""

    number: bytes
    parent: bytes
    point: str
    options: list[bytes]
    of_filesystem: list[bytes]


def _host_mounts(host: Host) -> list[_HostMount]:
    """The host's mounts, in the order in which they were mounted."""
    data = b""
    while len(data) < MOST_MOUNTS:
        part = host.read("/proc/self/mountinfo", PART, len(data))
        if not part:
            break
        data += part
    lines = [line.split(b" ") for line in data.splitlines()]
    return [
        _HostMount(words[0], words[1], mount.point, words[5].split(b","), words[-1].split(b","))
        for words, mount in zip(lines, host.mounts() if data else (), strict=False)
    ]


def _host_flags(mounts: list[_HostMount]) -> Iterator[tuple[str, bool, bool, bool]]:
    """(mount point, read-only, devices work, programs can be executed), what hides others first.

    The options are those of the mount, and those of its filesystem.
    """
    rows = [
        (
            mount.point,
            b"ro" in mount.options or b"ro" in mount.of_filesystem,
            b"nodev" not in mount.options,
            b"noexec" not in mount.options,
        )
        for mount in mounts
    ]
    # The last one mounted at a point counts; of points below each other, the lower one.
    rows.reverse()
    yield from sorted(rows, key=lambda row: len(row[0]), reverse=True)


def _is_uncovered(mounts: list[_HostMount], at: int) -> bool:
    """Whether the point of a mount is where a path leads: nothing was mounted later over a directory above it."""
    parents = {mount.number: mount.parent for mount in mounts}
    point, number = mounts[at].point, mounts[at].number
    above = {number}
    while (number := parents.get(number, b"")) not in above and number:
        above.add(number)
    later = (other for other in mounts[at + 1 :] if other.number not in above)
    return not any(other.point != point and is_below(point, other.point) for other in later)
