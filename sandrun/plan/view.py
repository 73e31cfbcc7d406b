"""The view: grants, places and denials → the mounts that show, replace and mask them. Pure.

In a mount namespace of its own the command's tree starts as the host's, read-only and without device files; what may
be written is shown writable again, places such as /tmp are replaced by empty ones, and what is denied is covered by
something empty. Landlock stays in force underneath. Nothing is made on the host for it: a mount needs something to
stand on, and where that is absent Landlock alone has to do.
"""

from __future__ import annotations

import os
import posixpath
import stat

from sandrun.named import NamedTuple
from sandrun.plan.format import KIND_DIRECTORY, KIND_FILE
from sandrun.plan.siblings import CHANGE, is_below, parent
from sandrun.primitives.landlock import FILE_RIGHTS, FS
from sandrun.primitives.view import (
    DEVICES,
    NO_EXECUTE,
    OWNED,
    READ_ONLY,
    SET_ID,
    VIEW_BIND,
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
from sandrun.rooted import RootedHost

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sandrun.host import Host
    from sandrun.plan.siblings import Grant, Hole

    Record = tuple[int, int, bytes, bytes]

CHANGE_FILES = CHANGE & ~(FS["ioctl_dev"] | FS["resolve_unix"])
EMPTY_FILE = "/dev/null"
"""What covers a denied file: where device files do not work, nobody can open it."""


class Place(NamedTuple):
    """A place that is not the host's in the view.

    `operation` is VIEW_TMPFS, VIEW_PROC, VIEW_DEVPTS or VIEW_OVERLAY, with `flags` and `source` as in `Plan.view`.
    `access` are the Landlock rights on it. `made`: nothing is there on the host, so its mount point is made; it lies
    in another place.
    """

    path: str
    operation: int
    flags: int
    access: int = 0
    source: str = ""
    made: bool = False


class Entry(NamedTuple):
    """Something made in a place: a file with this content, a symbolic link, or a directory."""

    path: str
    operation: int
    mode: int
    content: bytes = b""


class Content(NamedTuple):
    """What a file of the host is replaced by."""

    path: str
    content: bytes


class _Zone(NamedTuple):
    """What holds at a path and below it, down to the next zone. `is_host`: the host's files are seen there."""

    is_host: bool
    writable: bool
    devices: bool = False
    closed: bool = False
    """Nothing granted below it counts: it is denied, or an overlay takes all changes."""
    unwritable: bool = False


class View:
    """The records in the making: what stands at each path, parents first."""

    __slots__ = ("_host", "_root", "_shown", "_steps", "_zones", "rules")

    def __init__(self, host: Host, *, writable: bool) -> None:
        self._host = host
        self._root = host if isinstance(host, RootedHost) else None
        # Whoever may write everything of the host may have its devices too; in another root they may be anything.
        self._zones = {"/": _Zone(is_host=True, writable=writable, devices=writable and not self._root)}
        self._steps: list[Record] = []
        self._shown: dict[str, str] = {}
        self.rules: list[tuple[int, int, bytes]] = []

    def zone(self, path: str) -> _Zone:
        """What holds at a canonical path."""
        while path not in self._zones:
            path = parent(path)
        return self._zones[path]

    def is_host(self, path: str) -> bool:
        """Whether the host's own file is seen at a canonical path."""
        return self.zone(path).is_host

    def place(self, place: Place) -> None:
        """Replace what is there."""
        if self.zone(place.path).closed:
            return
        if place.made or not self.is_host(place.path):
            self._add(VIEW_DIRECTORY, 0o755, place.path)
        overlay = place.operation == VIEW_OVERLAY
        path = self._outer(place.path) if overlay else place.path
        self._add(place.operation, place.flags, path, os.fsencode(place.source))
        self._zones[place.path] = _Zone(is_host=False, writable=overlay, closed=overlay)
        if place.access:
            self.rules.append((place.access, KIND_DIRECTORY, os.fsencode(place.path)))

    def entry(self, entry: Entry) -> None:
        """Make something in a place, unless the place itself is denied or given to an overlay."""
        if self.zone(entry.path).closed:
            return
        self._add(entry.operation, entry.mode, entry.path, entry.content)

    def show(self, grant: Grant, at: str = "") -> None:
        """Show what is granted if it would not be seen, or not be writable, or not work as a device."""
        path = at or grant.path
        zone = self.zone(path)
        found = self._host.lstat(grant.path)
        device = found is not None and stat.S_IFMT(found.mode) in (stat.S_IFCHR, stat.S_IFBLK)
        devices = device or is_below(grant.path, "/dev")
        # A right that means nothing on a file must not open its mode and times.
        access = grant.access & (CHANGE_FILES if grant.is_directory else CHANGE_FILES & FILE_RIGHTS)
        writable = bool(access) and not device and not zone.unwritable
        needed = bool(at) or not zone.is_host or (writable and not zone.writable) or (devices and not zone.devices)
        if not needed or zone.closed:
            return
        self._point(path, is_directory=grant.is_directory)
        self._shown[path] = grant.path
        flags = (DEVICES if devices else 0) | (0 if writable or device else READ_ONLY)
        self._add(VIEW_BIND, flags, path, os.fsencode(self._outer(grant.path)))
        self._zones[path] = _Zone(is_host=True, writable=writable, devices=devices)

    def replace(self, file: Content) -> None:
        """Let a file of the host have another content; what is denied stays so, what is not seen is not made."""
        if not self._is_seen(self.zone(file.path)):
            return
        self._add(VIEW_CONTENT, READ_ONLY | NO_EXECUTE, file.path, file.content)
        self._zones[file.path] = _Zone(is_host=False, writable=False)
        # Rules on what it covers do not hold for it.
        self.rules.append((FS["read_file"], KIND_FILE, os.fsencode(file.path)))

    def deny(self, hole: Hole) -> None:
        """Cover what is denied, or make it read-only.

        Where it is not seen, in a place of its own, there is nothing to cover; but what is granted below it would be
        shown there, and the rights of the place hold for that.
        """
        zone = self.zone(hole.path)
        if not self._is_seen(zone):
            self._zones[hole.path] = zone._replace(closed=zone.closed or hole.denies_all, unwritable=True)
            return
        if hole.identity is None:
            return
        if not hole.denies_all:
            # The root is read-only by its own record: a mount on top of it would be met by `..` alone, without covers.
            if zone.writable and hole.path != "/":
                self._add(VIEW_BIND, READ_ONLY | (DEVICES if zone.devices else 0), hole.path, self._source(hole.path))
            self._zones[hole.path] = zone._replace(writable=False, unwritable=True)
            return
        if hole.is_file:
            self._add(VIEW_BIND, READ_ONLY, hole.path, os.fsencode(EMPTY_FILE))
        else:
            self._add(VIEW_TMPFS, READ_ONLY, hole.path)
        self._zones[hole.path] = _Zone(is_host=True, writable=False, closed=True)

    def pin(self, path: str) -> None:
        """Make a mount point of a directory above a denial or an overlay, which nobody can rename (rename(2), EBUSY).

        A directory that could be moved away would take what is mounted below it along, and leave its name to others.
        """
        zone = self.zone(path)
        if path not in self._zones and zone.is_host and zone.writable:
            self._add(VIEW_BIND, DEVICES if zone.devices else 0, path, self._source(path))
            self._zones[path] = zone

    def directory(self, path: str) -> None:
        """Make sure that a directory is there, for the command to start in."""
        zone = self.zone(path)
        if not zone.is_host and not zone.closed and (zone.unwritable or path not in self._zones):
            self._add(VIEW_DIRECTORY, 0o755 | OWNED, path)

    def records(self, *, set_id: bool = False) -> tuple[Record, ...]:
        """All of it: first what holds for the host's tree, then parents before what lies in them.

        `set_id`: set-user-ID programs work, as far as no_new_privs is not set either.
        """
        root = self._zones["/"]
        flags = (0 if root.writable else READ_ONLY) | (DEVICES if root.devices else 0)
        operation, source = (VIEW_ROOT, os.fsencode(self._root.top)) if self._root else (VIEW_TREE, b"")
        tree = (operation, flags, b"/", source)
        if not set_id or self._root:
            return (tree, *self._steps)
        host = (VIEW_TREE, VIEW_BIND)
        return tuple(
            (operation, flags | (SET_ID if operation in host else 0), path, source)
            for operation, flags, path, source in (tree, *self._steps)
        )

    @staticmethod
    def _is_seen(zone: _Zone) -> bool:
        """Whether files of the host are seen there, in an overlay too."""
        return not zone.closed if zone.is_host else zone.writable

    def _outer(self, path: str) -> str:
        """A path of the plan's host, by its name before the root changes."""
        return self._root.outer(path) if self._root else path

    def _source(self, path: str) -> bytes:
        """What is seen at a path of the view, by its name before anything of it is made."""
        if self._root:
            return os.fsencode(self._root.outer(path))
        at = path
        while at not in self._shown and at != "/":
            at = posixpath.dirname(at)
        return os.fsencode(posixpath.normpath(posixpath.join(self._shown.get(at, at), posixpath.relpath(path, at))))

    def _point(self, path: str, *, is_directory: bool) -> None:
        """Where nothing of the host is seen, a mount needs something made to stand on."""
        if not self.is_host(path):
            self._add(VIEW_DIRECTORY if is_directory else VIEW_FILE, 0o755 if is_directory else 0o600, path)

    def _add(self, operation: int, flags: int, path: str, source: bytes = b"") -> None:
        self._steps.append((operation, flags, os.fsencode(path), source))


def build(
    grants: Iterable[Grant],
    places: Iterable[Place],
    entries: Iterable[Entry],
    contents: Iterable[Content],
    shown: Iterable[tuple[Grant, str]],
    holes: Iterable[Hole],
    cwd: str,
    host: Host,
) -> View:
    """The view of these grants, places with what is made in them, files of other content, grants shown elsewhere, denials."""
    united: dict[str, Grant] = {}
    for grant in grants:
        before = united.get(grant.path, grant)
        united[grant.path] = grant._replace(access=grant.access | before.access)
    view = View(host, writable=bool("/" in united and united["/"].access & CHANGE_FILES))
    places = tuple(places)
    overlays = [place for place in places if place.operation == VIEW_OVERLAY]
    denied = [hole for hole in holes if not hole.soft]
    covered = [hole for hole in denied if hole.identity is not None]
    steps: list[tuple[str, int, Callable[..., None], tuple[object, ...]]] = [
        *((place.path, 0, view.place, (place,)) for place in places),
        *((entry.path, 1, view.entry, (entry,)) for entry in entries),
        *((grant.path, 2, view.show, (grant,)) for grant in united.values() if grant.path != "/"),
        *((at, 3, view.show, (grant, at)) for grant, at in shown),
        *((hole.path, 4, view.deny, (hole,)) for hole in denied),
        *((file.path, 5, view.replace, (file,)) for file in contents),
        *((path, 6, view.pin, (path,)) for path in _above((*covered, *overlays))),
    ]
    # Every directory stands before what lies in it, a denial of it too: what is mounted later covers all that was
    # mounted below it before.
    for _, _, step, what in sorted(steps, key=lambda item: (item[0].split("/"), item[1])):
        step(*what)
    if cwd:
        view.directory(cwd)
    return view


def _above(kept: Iterable[Hole | Place]) -> set[str]:
    """The directories above what must stay where it is."""
    found = set()
    for one in kept:
        path = posixpath.dirname(one.path)
        while path not in found:
            found.add(path)
            path = posixpath.dirname(path)
    return found


def minimal_devices(access: int, listing: int) -> tuple[list[Place], list[Entry]]:
    """A /dev of its own, for the devices that are granted to be shown in, with terminals and shared memory of its own."""
    places = [
        Place("/dev", VIEW_TMPFS, 0o755, listing),
        Place("/dev/pts", VIEW_DEVPTS, 0, access, made=True),
        Place("/dev/shm", VIEW_TMPFS, 0o1777, access, "15%", made=True),  # noqa: S108 (a name in the view)
    ]
    links = (
        ("ptmx", "pts/ptmx"),
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    )
    return places, [Entry(f"/dev/{name}", VIEW_SYMLINK, 0, target.encode()) for name, target in links]


def own_proc(access: int) -> Place:
    """proc(5) of the command's own pid namespace."""
    return Place("/proc", VIEW_PROC, READ_ONLY | NO_EXECUTE, access)
