"""What a profile asks of the file system, with every path expanded: grants, holes, and directories to make.

Nothing is decided here about Landlock; a path that is wrong on this host is a problem of the draft.
"""

from __future__ import annotations

import posixpath
import stat

from sandrun.errors import ProfileError
from sandrun.named import NamedTuple
from sandrun.plan.draft import accept
from sandrun.plan.groups import members
from sandrun.plan.judgments import judge_files, judge_hard_links, judge_links, judge_overlays, judge_private_places
from sandrun.plan.places import collect_places, overlay, show_at
from sandrun.plan.siblings import ALL_RIGHTS, CHANGE, Grant, aliases, is_below, make_hole
from sandrun.plan.trusted import protect
from sandrun.primitives.landlock import EXECUTE, FS, READ, WRITE
from sandrun.profile.model import AccessRule, PathEntry
from sandrun.profile.paths import expand
from sandrun.rooted import RootedHost

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sandrun.plan.draft import Draft
    from sandrun.plan.groups import Context
    from sandrun.plan.siblings import Hole
    from sandrun.plan.view import Entry, Place
    from sandrun.profile.model import Value

PROMISES = {"filesystem.read": READ, "filesystem.write": WRITE & ~READ, "filesystem.execute": FS["execute"]}
"""The keys that hold for every command, and the rights that only they give."""
GRANTING = {
    "filesystem.read": READ,
    "filesystem.write": WRITE,
    "filesystem.create": WRITE,
    "filesystem.execute": EXECUTE,
}
MAGIC = ("/proc/self", "/proc/thread-self", "/dev/fd", "/dev/stdin", "/dev/stdout", "/dev/stderr")
"""They mean another thing to each process, so a grant of them would be one of sandrun's own files."""
HOMES = ("/", "/home", "/root")
EVERYTHING = ALL_RIGHTS & ~FS["resolve_unix"]
"""What `@all` gives when it stands in all three lists; which sockets may be reached is the network's promise."""


class _Ask(NamedTuple):
    """One entry of one list: what it asks for and who wrote it."""

    key: str
    access: int
    entry: PathEntry
    value: Value


class Request:
    """The growing list of what is asked; lives for one call of `resolve`."""

    __slots__ = (
        "asked",
        "context",
        "create",
        "dots",
        "draft",
        "elsewhere",
        "entries",
        "grants",
        "groups",
        "has_view",
        "holes",
        "lost",
        "mechanisms",
        "named",
        "no_proc",
        "no_view",
        "notes",
        "places",
        "private_dirs",
        "shown",
    )

    def __init__(self, draft: Draft, context: Context, no_view: str, no_proc: str) -> None:
        self.draft = draft
        self.context = context
        self.no_view = no_view
        """Why there is no mount namespace, for the middle of a sentence; "" if there is one."""
        self.no_proc = no_proc
        """Why there is no proc(5) of the command's own."""
        self.has_view = not no_view
        self.grants: list[Grant] = []
        self.groups: dict[str, int] = {}
        """Access by group, so that each is looked up once."""
        self.holes: list[Hole] = []
        self.create: list[str] = []
        self.private_dirs: list[bytes] = []
        self.places: list[Place] = []
        self.entries: list[Entry] = []
        """What is made in the places."""
        self.elsewhere: list[tuple[Grant, str, object]] = []
        """Grants that `filesystem.rules` show at another path, with who says so."""
        self.shown: list[tuple[Grant, str]] = []
        """Those of them that can be."""
        self.named = 0
        """The rights that `filesystem.rules` name."""
        self.asked: list[tuple[_Ask, str, Grant]] = []
        """The grants by path, each with the path before links were followed."""
        self.dots: list[_Ask] = []
        """Entries that say `.` where the command starts in somebody's home."""
        self.notes: dict[str, list[str]] = {}
        self.lost: dict[str, list[tuple[str, str]]] = {}
        self.mechanisms: dict[str, list[str]] = {}
        """What keeps a key besides Landlock."""

    @property
    def is_everything(self) -> bool:
        """Whether nothing is left to refuse."""
        return not self.holes and self.groups.get("@all") == EVERYTHING

    def note(self, key: str, text: str) -> None:
        """Something worth knowing about a protection that is kept."""
        self.notes.setdefault(key, []).append(text)

    def lose(self, key: str, text: str, hint: str) -> None:
        """A part of a protection that is not kept; it is judged when the whole record is known."""
        self.lost.setdefault(key, []).append((text, hint))

    def refuse(self, ask: _Ask, message: str, hint: str | None = None) -> None:
        """The entry is wrong on this host."""
        self.draft.refuse(ask.value.origin, message, hint)


def collect(draft: Draft, context: Context, no_view: str, no_proc: str) -> Request:
    """Everything the profile says about files. What is wrong goes to `draft.problems`.

    `no_view` says why there is no mount namespace to keep it in, `no_proc` why no proc(5) can be mounted in it; "" if
    that can be had.
    """
    request = Request(draft, context, no_view, no_proc)
    if isinstance(context.host, RootedHost):
        _note_root(request)
    for key, access in GRANTING.items():
        for value in draft.profile.items(key):
            _collect_grant(request, key, access, value)
    for value in draft.profile.items("filesystem.rules"):
        _collect_rule(request, value)
    _judge_dots(request)
    collect_places(request)
    for grant, at, where in request.elsewhere:
        show_at(request, grant, at, where)
    _collect_overlays(request)
    if request.groups.get("@all", 0) & (READ | WRITE | EXECUTE) == READ | WRITE | EXECUTE:
        request.groups["@all"] = EVERYTHING
    for group, access in request.groups.items():
        request.grants += members(group, access, context)
    for key, denied in (("filesystem.deny", ALL_RIGHTS), ("filesystem.deny_write", CHANGE)):
        for value in draft.profile.items(key):
            _collect_denial(request, key, denied, value)
    protect(request)
    _add_aliases(request)
    judge_hard_links(request)
    _deny_where_shown(request)
    judge_overlays(request)
    judge_private_places(request)
    judge_links(request)
    judge_files(request)
    return request


def _note_root(request: Request) -> None:
    request.mechanisms["filesystem.root"] = ["mount" if request.has_view else "chroot"]
    if not request.has_view:
        request.note("filesystem.root", f"chroot(2) changes it, for want of a mount namespace, {request.no_view}")


def _ask(key: str, access: int, value: Value) -> _Ask:
    if not isinstance(value.value, PathEntry):
        raise TypeError(f"not a path entry: {value.value!r}")
    return _Ask(key, access, value.value, value)


def _paths(request: Request, value: Value) -> list[str] | None:
    """The paths of an entry; None if that is a problem, which is noted."""
    try:
        return expand(value, request.context.host, request.context.home)
    except ProfileError as error:
        request.draft.problems.extend(error.problems)
        return None


def _collect_rule(request: Request, value: Value) -> None:
    rule = value.value
    if not isinstance(rule, AccessRule):
        raise TypeError(f"not an access rule: {rule!r}")
    access = 0
    for name in rule.access:
        access |= FS[name]
    request.named |= access
    if rule.at and rule.path.group:
        request.draft.refuse(value.origin, f"a group has no one place: {rule.path.text} cannot be shown at {rule.at}")
        return
    before = len(request.grants)
    host = request.context.host
    if rule.at and isinstance(host, RootedHost):
        _bring_in(request, rule.at, access, value, host)
    else:
        _collect_grant(request, "filesystem.rules", access, value._replace(value=rule.path))
    if rule.at and request.has_view:
        request.elsewhere += [(grant, rule.at, value.origin) for grant in request.grants[before:]]
    elif rule.at:
        lost = f"showing {rule.path.text} at {rule.at} needs a mount namespace, {request.no_view}"
        request.lose("filesystem.rules", lost, f'leave out "at", or {accept("filesystem.rules")}')


def _bring_in(request: Request, at: str, access: int, value: Value, host: RootedHost) -> None:
    """Something of the host in another root: a grant by the path at which it is shown."""
    real = host.bare.realpath(posixpath.normpath(at))
    found = host.lstat(real) if real in host.shown else None
    if found is not None:
        grant = Grant(real, access, stat.S_ISDIR(found.mode))
        request.grants.append(grant)


def _collect_grant(request: Request, key: str, access: int, value: Value) -> None:
    ask = _ask(key, access, value)
    if ask.entry.group:
        request.groups[ask.entry.group] = request.groups.get(ask.entry.group, 0) | access
        return
    if _is_home_by_dot(ask.entry, request.context):
        request.dots.append(ask)
        return
    paths = _paths(request, value)
    if paths == [] and not ask.entry.optional:
        request.refuse(ask, f"nothing matches {ask.entry.text}", 'end the entry in "?" to skip it then')
    for path in paths or ():
        _add_grant(request, ask, path)


def _judge_dots(request: Request) -> None:
    """`.` in a home is most likely a slip, unless the home is granted by its own name too."""
    where = request.context.host.cwd
    outright = any(grant.path == where for _, _, grant in request.asked)
    for ask in request.dots:
        if outright:
            _add_grant(request, ask, where)
        else:
            flag = ask.key.replace("filesystem.", "--")
            start = (
                "--cwd DIR" if isinstance(request.context.host, RootedHost) else "start in a directory of the project"
            )
            hint = f"{start}, or name it outright: {flag} {where}"
            request.refuse(ask, f'granting "." would grant all of {where}, where sandrun was started', hint)


def _add_grant(request: Request, ask: _Ask, path: str) -> None:
    host = request.context.host
    real = host.realpath(path)
    if is_magic(path, real):
        request.refuse(ask, f"{path} is another file in each process", "grant /proc, or the file that is meant")
        return
    found = host.lstat(real)
    wants_directory = ask.entry.path.endswith("/")
    if found is None:
        if ask.key == "filesystem.create":
            _add_created(request, ask, path, real)
        elif not ask.entry.optional:
            hint = 'end the entry in "?" to skip it if absent'
            request.refuse(
                ask, f"not found: {path}", hint + (", or use create" if ask.key == "filesystem.write" else "")
            )
    elif wants_directory and not stat.S_ISDIR(found.mode):
        request.refuse(ask, f"not a directory: {path}")
    else:
        grant = Grant(real, ask.access, stat.S_ISDIR(found.mode))
        request.grants.append(grant)
        request.asked.append((ask, path, grant))


def _add_created(request: Request, ask: _Ask, path: str, real: str) -> None:
    """Plan to make an absent target; its rule stands although nothing is there yet."""
    is_directory = ask.entry.path.endswith("/")
    parent = request.context.host.stat(posixpath.dirname(real))
    if not is_directory and (parent is None or not stat.S_ISDIR(parent.mode)):
        hint = 'end the entry in "/" to make a directory with its parents'
        request.refuse(ask, f"cannot create {real}: its directory is absent", hint)
        return
    grant = Grant(real, ask.access, is_directory)
    request.create.append(real + "/" if is_directory else real)
    request.grants.append(grant)
    request.asked.append((ask, path, grant))
    request.note(ask.key, f"{real} is made and stays")


def _is_home_by_dot(entry: PathEntry, context: Context) -> bool:
    """Whether the entry says `.` in somebody's home or above."""
    if entry.path.startswith("/") or posixpath.normpath(entry.path) != ".":
        return False
    host = context.host
    cwd = host.cwd
    homes = {*HOMES, context.home}
    found = host.stat(cwd) if cwd else None
    for uid in {host.uid, context.uid, found.uid if found else context.uid}:
        account = host.account(uid)
        homes.add(account.home if account else "")
    return bool(cwd) and host.realpath(cwd) in {host.realpath(home) for home in homes if home.startswith("/")}


def is_magic(path: str, real: str) -> bool:
    """Whether a path means another file in each process; `real` is where it leads."""
    path = posixpath.normpath(path)
    return any(is_below(path, place) for place in MAGIC) or (_in_process(real) and not _in_process(path))


def _in_process(path: str) -> bool:
    return path.startswith("/proc/") and path.split("/")[2].isdecimal()


def _collect_overlays(request: Request) -> None:
    """Directories whose changes go to a workspace."""
    key = "filesystem.overlay"
    for value in request.draft.profile.items(key):
        ask = _ask(key, READ | WRITE, value)
        if ask.entry.group:
            request.refuse(ask, f"an overlay is of one directory, not of a group: {ask.entry.text}")
            continue
        for path in _paths(request, value) or ():
            real = request.context.host.realpath(path)
            overlay(request, real, ask.access, value.origin)
            request.asked.append((ask, path, Grant(real, ask.access, is_directory=True)))


def _collect_denial(request: Request, key: str, denied: int, value: Value) -> None:
    ask = _ask(key, denied, value)
    host = request.context.host
    if ask.entry.group:
        for grant in members(ask.entry.group, READ, request.context):
            request.holes.append(make_hole(grant.path, denied, key, host))
        return
    paths = _paths(request, value)
    if paths == []:
        request.note(key, f"{ask.entry.text} matches nothing now, and is not watched")
    for path in paths or ():
        real = host.realpath(path)
        if is_magic(path, real):
            request.refuse(ask, f"{path} is another file in each process", "deny /proc, or the file that is meant")
            continue
        hole = make_hole(real, denied, key, host)
        if hole.identity is None and ask.entry.optional:
            continue
        if real != path:
            request.note(key, f"{path} leads to {real}, which is denied")
        request.holes.append(hole)


def _add_aliases(request: Request) -> None:
    """The other places where mounts show a hole are holes too."""
    mounts = request.context.host.mounts() if request.holes else ()
    for hole in tuple(request.holes):
        for alias in aliases(hole, mounts, request.context.host):
            request.holes.append(alias)
            request.note(hole.key, f"{alias.path} shows {hole.path} too and is denied as well")


def _deny_where_shown(request: Request) -> None:
    """What is denied is denied as well where a rule shows it, by its name there too; in another root it has no other."""
    host = request.context.host
    for grant, at in () if isinstance(host, RootedHost) else request.shown:
        for hole in tuple(request.holes):
            if is_below(hole.path, at) and hole.path != at:
                there = make_hole(_moved(hole.path, at, grant.path), hole.denied, hole.key, host, soft=hole.soft)
                request.holes.remove(hole)
                request.holes.append(there._replace(path=hole.path))
            if hole.soft:
                continue
            if is_below(grant.path, hole.path):
                request.holes.append(hole._replace(path=at, is_file=not grant.is_directory))
            elif is_below(hole.path, grant.path):
                request.holes.append(hole._replace(path=_moved(hole.path, grant.path, at)))


def _moved(path: str, start: str, to: str) -> str:
    """A path below `start` as it is below `to`."""
    return posixpath.normpath(posixpath.join(to, posixpath.relpath(path, start)))
