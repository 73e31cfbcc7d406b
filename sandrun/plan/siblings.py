"""Deny inside an allowed tree with Landlock alone: grant the siblings instead of the tree. Pure, over a Host.

Landlock has no deny rules, and the rights of a directory hold for everything below it. So a right that a hole takes
away may stand on no directory between the grant and the hole; every sibling of the way down gets it instead:

    grant /a, hole /a/b/secret  ->  rules for the entries of /a without b, and the entries of /a/b without secret

What follows from that, and is recorded: the directories on the way lose the right for themselves (no new, renamed or
removed entries there), and entries that appear beside the hole later are not covered by any rule.
"""

from __future__ import annotations

import posixpath
import stat

from sandrun.named import NamedTuple
from sandrun.plan.format import KIND_DIRECTORY, KIND_FILE, MAY_VANISH
from sandrun.primitives.landlock import FILE_RIGHTS, FS, WRITE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sandrun.host import Host, Mount, Stat

ALL_RIGHTS = (1 << 64) - 1
READ_DIR = FS["read_dir"]
READ = FS["read_file"] | READ_DIR
CHANGE = (WRITE & ~READ) | FS["make_char"] | FS["make_block"] | FS["ioctl_dev"] | FS["resolve_unix"]
"""What `deny_write` takes away: everything that changes a file, a directory or a device, or reaches a server."""
MOST_RULES = 10_000


class Grant(NamedTuple):
    """Rights on one canonical path and all below it. `holes` are exceptions of this grant alone."""

    path: str
    access: int
    is_directory: bool
    holes: tuple[Hole, ...] = ()


class Hole(NamedTuple):
    """Rights that nothing at or below one canonical path may have.

    `identity` is (device, inode), None if it is absent. `is_file`: it exists and is no directory. `soft`: only what is
    granted from above it is taken away; a grant at or below it stays (a hidden home with one directory shown).
    """

    path: str
    denied: int
    key: str
    identity: tuple[int, int] | None = None
    is_file: bool = False
    soft: bool = False

    @property
    def denies_all(self) -> bool:
        """Whether no rule at all may stand on it."""
        return self.denied == ALL_RIGHTS


class TooManyRulesError(Exception):
    """Leaving the holes out would need more than MOST_RULES path rules; `path` is where that was noticed."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path


class Expansion:
    """The rules, and what they cost."""

    __slots__ = ("frozen", "narrowed", "rules", "split", "unlisted")

    def __init__(self) -> None:
        self.rules: dict[str, tuple[int, int]] = {}
        """Access and KIND_* (+ MAY_VANISH) by canonical path."""
        self.frozen: dict[Hole, list[str]] = {}
        """Directories of a writable grant in which nothing can be made, renamed or removed because of this hole."""
        self.narrowed: dict[Hole, list[str]] = {}
        """Grants that a hole at or above them took rights from."""
        self.split: dict[Hole, list[str]] = {}
        """Directories whose entries stand in for them because of this hole."""
        self.unlisted: list[str] = []
        """Directories on the way to a hole that cannot be listed: their entries get nothing."""

    def add(self, path: str, access: int, is_directory: bool, *, listed: bool = False) -> None:
        """Unite with what this path already has; a file takes only what means something on a file.

        `listed`: nobody named it, it was found beside a hole.
        """
        access &= ALL_RIGHTS if is_directory else FILE_RIGHTS
        if not access:
            return
        known, may_vanish = self.rules.get(path, (0, MAY_VANISH))
        may_vanish &= MAY_VANISH if listed else 0
        self.rules[path] = (known | access, (KIND_DIRECTORY if is_directory else KIND_FILE) | may_vanish)
        if len(self.rules) > MOST_RULES:
            raise TooManyRulesError(path)


def expand(grants: Iterable[Grant], holes: Sequence[Hole], host: Host, *, covered: bool = False) -> Expansion:
    """The path rules that give every grant and leave every hole out.

    `covered`: mounts hide what stands in the holes, so that writable trees around them can be granted whole, at the
    price that a mount goes when another process replaces what it stands on. A hole in which nothing stands cannot be
    covered. Raises TooManyRulesError.
    """
    result = Expansion()
    grants = tuple(grants)
    masked = {hole for hole in holes if covered and hole.identity is not None and _in_writable(hole, grants)}
    for grant in grants:
        relevant = (*holes, *grant.holes)
        access = grant.access
        own = host.stat(grant.path)
        for hole in relevant:
            if hole.soft:
                continue
            if is_below(grant.path, hole.path) or _same(own, hole):
                if access & hole.denied:
                    result.narrowed.setdefault(hole, []).append(grant.path)
                access &= ~hole.denied
        below = [hole for hole in relevant if hole.path != grant.path and is_below(hole.path, grant.path)]
        if masked:
            below = [hole for hole in below if hole not in masked or hole in grant.holes]
        if grant.is_directory and below:
            _descend(grant._replace(access=access), below, _identities(relevant), host, result)
        else:
            result.add(grant.path, access, grant.is_directory)
    return result


def _in_writable(hole: Hole, grants: Iterable[Grant]) -> bool:
    return any(grant.access & hole.denied & CHANGE and is_below(hole.path, grant.path) for grant in grants)


def _descend(
    grant: Grant, holes: Sequence[Hole], denied: dict[tuple[int, int], int], host: Host, result: Expansion
) -> None:
    """Give the grant to everything in its directory but the holes, which all lie strictly below it.

    `denied` says by (device, inode) what a hole takes away: a second name of it among the siblings is the hole.
    """
    work = [(grant.path, grant.access, list(holes))]
    while work:
        directory, access, below = work.pop()
        moved = _moved(directory, access, below, result)
        result.add(directory, access & ~moved, is_directory=True, listed=directory != grant.path)
        if not moved:
            continue
        names = host.listdir(directory)
        if names is None:
            result.unlisted.append(directory)
            continue
        ways: dict[str, list[Hole]] = {}
        top = directory.rstrip("/") + "/"
        for hole in below:
            ways.setdefault(hole.path[len(top) :].partition("/")[0], []).append(hole)
        for name in names:
            path = f"{top}{name}"
            found = host.lstat(path)
            # A symbolic link has no rights of its own: what it leads to is decided there.
            if found is None or stat.S_ISLNK(found.mode):
                continue
            rest = moved & ~denied.get((found.dev, found.ino), 0)
            deeper = []
            for hole in ways.get(name, ()):
                if hole.path == path:
                    rest &= ~hole.denied
                else:
                    deeper.append(hole)
            if deeper and stat.S_ISDIR(found.mode):
                work.append((path, rest, deeper))
            else:
                result.add(path, rest, stat.S_ISDIR(found.mode), listed=True)


def _moved(directory: str, access: int, below: Sequence[Hole], result: Expansion) -> int:
    """The rights that `directory` itself must lose to its entries because of the holes below it.

    Listing may stay when only files are to be left out: their content is not listed, and their names are no secret.
    """
    moved = 0
    listing = False
    for hole in below:
        moved |= access & hole.denied
        if access & hole.denied:
            result.split.setdefault(hole, []).append(directory)
        listing |= bool(hole.denied & READ_DIR) and not hole.is_file
        if access & hole.denied & CHANGE:
            result.frozen.setdefault(hole, []).append(directory)
    return moved if listing else moved & ~READ_DIR


def _identities(holes: Iterable[Hole]) -> dict[tuple[int, int], int]:
    """What is denied by (device, inode)."""
    found: dict[tuple[int, int], int] = {}
    for hole in holes:
        if hole.identity is not None:
            found[hole.identity] = found.get(hole.identity, 0) | hole.denied
    return found


def _same(found: Stat | None, hole: Hole) -> bool:
    return found is not None and hole.identity == (found.dev, found.ino)


def is_below(path: str, directory: str) -> bool:
    """Whether `path` is `directory` or lies in it, by their canonical names."""
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def parent(path: str) -> str:
    """The directory that a canonical path is in: "/" for "/" itself. Half of the time of `posixpath.dirname`."""
    return path.rpartition("/")[0] or "/"


def make_hole(path: str, denied: int, key: str, host: Host, *, soft: bool = False) -> Hole:
    """A hole at a canonical path, as it stands there now."""
    found = host.lstat(path)
    if found is None:
        return Hole(path, denied, key, soft=soft)
    return Hole(path, denied, key, (found.dev, found.ino), not stat.S_ISDIR(found.mode), soft)


def aliases(hole: Hole, mounts: Sequence[Mount], host: Host) -> list[Hole]:
    """Where else mounts show what is at or below `hole`: bind mounts, and a filesystem mounted twice.

    Each candidate is compared with the hole by device and inode; an absent hole is taken at its word.
    """
    found: dict[str, Hole] = {}
    for mount in mounts:
        if not is_below(hole.path, mount.point):
            continue
        inside = posixpath.normpath(posixpath.join(mount.root, posixpath.relpath(hole.path, mount.point)))
        for other in mounts:
            if other is mount or other.dev != mount.dev:
                continue
            if is_below(inside, other.root):
                alias, original = _join(other.point, inside, other.root), hole.path
            elif is_below(other.root, inside):
                alias, original = other.point, _join(hole.path, other.root, inside)
            else:
                continue
            if is_below(alias, hole.path) or alias in found:
                continue
            there, here = host.lstat(alias), host.lstat(original)
            if (there and (there.dev, there.ino)) == (here and (here.dev, here.ino)):
                found[alias] = make_hole(alias, hole.denied, hole.key, host, soft=hole.soft)
    return list(found.values())


def _join(directory: str, path: str, start: str) -> str:
    """`path` with its beginning `start` replaced by `directory`."""
    return posixpath.normpath(posixpath.join(directory, posixpath.relpath(path, start)))
