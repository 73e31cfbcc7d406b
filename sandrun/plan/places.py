"""The keys that say one word about a place: tmp, home, proc, dev, and what is shown elsewhere than on the host.

With a mount namespace the place is replaced in the command's view; without one a directory of its own is named by a
variable and the host's place is refused, as far as that can be had.
"""

from __future__ import annotations

import os
import posixpath
import stat

from sandrun.plan.draft import accept
from sandrun.plan.environment import OWN_TMP
from sandrun.plan.groups import SYSTEM, TEMPORARY
from sandrun.plan.siblings import ALL_RIGHTS, Grant, is_below, make_hole
from sandrun.plan.view import Entry, Place, minimal_devices, own_proc
from sandrun.primitives.landlock import EXECUTE, FS, READ, WRITE
from sandrun.primitives.view import OWNED, SEALED, VIEW_FILE, VIEW_OVERLAY, VIEW_TMPFS
from sandrun.rooted import RootedHost

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sandrun.plan.requests import Request

NO_HOMES = (*SYSTEM, "/dev", "/proc", "/sys", "/run")
"""passwd(5) gives system accounts homes such as /bin: hiding them would hide the system."""
OWN_PROC = "/proc shows the other processes too"
ALL = READ | WRITE | EXECUTE
SIZES = {"/tmp": "40%"}  # noqa: S108 (a name in the view)
SMALL = "15%"
"""Of the machine's memory, which all of these places together must not exhaust (tmpfs(5))."""
SSH_INCLUDED = "/etc/ssh/ssh_config.d"
MOST_SETTINGS = 1 << 20


def collect_places(request: Request) -> None:
    """What these words ask for, as places of the view, grants, holes and private directories of the request."""
    profile = request.draft.profile
    words = {name: profile.scalar("filesystem." + name) for name in ("tmp", "home", "proc", "dev")}
    word = {name: str(value.value) for name, value in words.items() if value is not None}
    _temporary(request, word.get("tmp", ""))
    _home(request, word.get("home", ""))
    _proc(request, word.get("proc", ""))
    _devices(request, word.get("dev", ""))


def _temporary(request: Request, word: str) -> None:
    if word == "host":
        request.groups["@tmp"] = request.groups.get("@tmp", 0) | WRITE
    elif word == "private" and request.has_view:
        found = _existing(request, TEMPORARY)
        for path in found:
            _replace(request, "filesystem.tmp", Place(path, VIEW_TMPFS, 0o1777, ALL, SIZES.get(path, SMALL)))
        if request.context.host.realpath(OWN_TMP) not in found:
            request.note("filesystem.tmp", f"there is no directory {OWN_TMP} to put it on")
            return
        # The caller's may be elsewhere, and programs that were written for a directory of their own ask for it.
        _set_variable(request, b"TMPDIR")
    elif word == "private":
        _make_private(request, "filesystem.tmp", b"TMPDIR")
        request.note("filesystem.tmp", "TMPDIR names it; /tmp itself is refused, not replaced")
        for path in _existing(request, TEMPORARY):
            _refuse(request, "filesystem.tmp", path)


def _home(request: Request, word: str) -> None:
    if word not in ("hidden", "private"):
        return
    context = request.context
    account = context.host.account(context.uid)
    homes = []
    for path in _existing(request, (context.home, account.home if account else "")):
        if path == "/" or any(is_below(path, context.host.realpath(top)) for top in NO_HOMES):
            request.note("filesystem.home", f"{path} is no home of anyone's and is not hidden")
        else:
            homes.append(path)
    if not request.has_view:
        for path in homes:
            _refuse(request, "filesystem.home", path)
        if word == "private":
            _make_private(request, "filesystem.home", b"HOME")
        return
    own = context.host.realpath(context.home) if context.home.startswith("/") and word == "private" else ""
    for path in homes:
        mode, access = (0o700 | OWNED, ALL) if path == own else (0o755 | SEALED, 0)
        _replace(request, "filesystem.home", Place(path, VIEW_TMPFS, mode, access, SMALL))
    if own in homes and "HOME" not in context.host.environ:
        _set_variable(request, b"HOME")
    if word == "private" and own not in homes and isinstance(context.host, RootedHost):
        request.note("filesystem.home", f"the root has no directory {context.home} to put it on")
    elif word == "private" and own not in homes:
        _make_private(request, "filesystem.home", b"HOME")


def _set_variable(request: Request, name: bytes) -> None:
    """Let a variable name a place of the view; `environment.values` has where that is."""
    fields = request.draft.fields
    fields["env_set"] = tuple(sorted({*fields["env_set"], name}))
    fields["env_pass"] = tuple(other for other in fields["env_pass"] if other != name)


def _proc(request: Request, word: str) -> None:
    if word != "none" and not _is_mount_point(request, "/proc"):
        request.note("filesystem.proc", "there is no directory /proc to put it on")
        return
    if word == "own" and not request.no_proc:
        _replace(request, "filesystem.proc", own_proc(READ))
    elif word in ("host", "own"):
        request.grants.append(Grant("/proc", READ, is_directory=True))
    elif not word and not request.no_proc:
        # Nobody may read it, so nobody should miss the host's.
        request.places.append(own_proc(0))
    if word == "own" and request.no_proc:
        lost = f"{OWN_PROC}: it takes a pid namespace, {request.no_proc}"
        request.lose("filesystem.proc", lost, f"--proc host, or {accept('filesystem.proc')}")
    elif word == "none":
        request.holes.append(make_hole("/proc", ALL_RIGHTS, "filesystem.proc", request.context.host))


def _devices(request: Request, word: str) -> None:
    host = request.context.host
    if not word and isinstance(host, RootedHost) and host.shown.get("/dev/null") == "/dev/null":
        word = "minimal"  # the host's devices are meant to be there, and need something to stand on
    if word and not _is_mount_point(request, "/dev"):
        if word == "minimal":
            lost = "there is no directory /dev to put a minimal one on"
            request.lose("filesystem.dev", lost, f"make an empty one there, or {accept('filesystem.dev')}")
    elif word == "minimal":
        request.groups.setdefault("@devices", 0)
        if request.has_view:
            access = READ | WRITE | FS["ioctl_dev"]
            places, entries = minimal_devices(access, FS["read_dir"])
            for place in places:
                _replace(request, "filesystem.dev", place)
            request.entries += entries
        else:
            for path in _existing(request, ("/dev",)):
                _refuse(request, "filesystem.dev", path)
    elif word == "host":
        request.grants.append(Grant("/dev", WRITE, is_directory=True))


def own_ssh_settings(request: Request) -> None:
    """Copies of what /etc/ssh/ssh_config includes, for a user namespace in which root's files are nobody's.

    ssh(1) refuses included files that belong neither to root nor to the user, and with them every connection.
    """
    host = request.context.host
    real = host.realpath(SSH_INCLUDED)
    if not request.draft.profile.items("network.connect") or not _may_read(request, real):
        return
    names = [name for name in host.listdir(real) or () if name.endswith(".conf")]
    # A copy must not show what a link there leads to and the command may not read.
    names = [name for name in names if _may_read(request, host.realpath(f"{real}/{name}"))]
    files = [(name, host.read(f"{real}/{name}", MOST_SETTINGS)) for name in names]
    if files:
        request.places.append(Place(real, VIEW_TMPFS, 0o755 | SEALED))
        request.entries += [
            Entry(f"{real}/{name}", VIEW_FILE, 0o644, content) for name, content in files if content is not None
        ]


def _may_read(request: Request, path: str) -> bool:
    return any(grant.access & READ and is_below(path, grant.path) for grant in request.grants) and not any(
        hole.denied & READ and is_below(path, hole.path) for hole in request.holes
    )


def _is_mount_point(request: Request, path: str) -> bool:
    """Whether a directory of this very name is there; every host has one, another root may not."""
    found = request.context.host.lstat(path)
    return not isinstance(request.context.host, RootedHost) or (found is not None and stat.S_ISDIR(found.mode))


def _make_private(request: Request, key: str, variable: bytes) -> None:
    if isinstance(request.context.host, RootedHost):
        lost = "a private directory would lie outside of the root, without a mount namespace to put it in"
        request.lose(key, f"{lost}: {request.no_view}", f"share that of the root, or {accept(key)}")
        return
    request.private_dirs.append(variable)
    request.mechanisms.setdefault(key, []).append("private directory")


def _existing(request: Request, paths: tuple[str, ...]) -> list[str]:
    """The canonical places of those directories that exist, each once."""
    host = request.context.host
    real = dict.fromkeys(host.realpath(path) for path in paths if path.startswith("/"))
    return [path for path in real if (found := host.stat(path)) is not None and stat.S_ISDIR(found.mode)]


def _refuse(request: Request, key: str, path: str) -> None:
    """Take a directory out of wider grants; what is granted inside it, or it itself by name, stays."""
    request.holes.append(make_hole(path, ALL_RIGHTS, key, request.context.host, soft=True))


def _replace(request: Request, key: str, place: Place) -> None:
    """Put a place over the host's, unless the host's is granted by its own name."""
    # What a rule shows elsewhere is no wish for it here; in another root that is the only path it has.
    moved = () if isinstance(request.context.host, RootedHost) else [grant for grant, _, _ in request.elsewhere]
    named = [grant for grant in request.grants if grant.path == place.path]
    if any(all(grant is not other for other in moved) for grant in named):
        request.note(key, f"{place.path} itself is granted, and is the host's")
        return
    if any(place.path == other.path for other in request.places):
        return
    request.places.append(place)
    if "mount" not in request.mechanisms.setdefault(key, []):
        request.mechanisms[key].append("mount")


def overlay(request: Request, path: str, access: int, where: object) -> None:
    """Let changes of a directory go to a workspace. Each has the number of its place in the plan."""
    key = "filesystem.overlay"
    host = request.context.host
    found = host.stat(path)
    others = [place.path for place in request.places if place.operation == VIEW_OVERLAY]
    if found is None or not stat.S_ISDIR(found.mode):
        request.draft.refuse(where, f"not a directory: {path}")
    elif not request.has_view:
        lost = f"an overlay of {path} needs a mount namespace, {request.no_view}"
        request.lose(key, lost, f"remove it, or {accept(key)}")
    elif path == "/" or any(is_below(path, top) for top in ("/proc", "/sys", "/dev")):
        request.draft.refuse(where, f"{path} cannot be overlaid", "name a directory of a project")
    elif any(is_below(path, other) or is_below(other, path) for other in others):
        if path not in others:
            request.draft.refuse(where, f"{path} and another overlay lie in each other", "overlay the upper one alone")
    elif (own := next((place.path for place in request.places if is_below(place.path, path)), "")) == path:
        request.draft.refuse(where, f"{path} is a place of its own already: nothing of the host's is there to change")
    elif own:
        # The overlay would show what is hidden there.
        hint = "overlay a directory further down, or share that one: --home host, --tmp host"
        request.draft.refuse(where, f"cannot overlay {path}: {own} in it is a place of the command's own", hint)
    else:
        request.places.append(Place(path, VIEW_OVERLAY, 0, access, str(len(others))))
        if "overlay" not in request.mechanisms.setdefault(key, []):
            request.mechanisms[key].append("overlay")


def show_at(request: Request, grant: Grant, at: str, where: object) -> None:
    """Show a granted path at another one, where something stands that it can be mounted on."""
    host = request.context.host
    if isinstance(host, RootedHost):
        host = host.bare
    else:
        _judge_shown_places(request, grant, at)
    target = posixpath.normpath(at)
    real = host.realpath(target)
    found = host.stat(real)
    if not target.startswith("/"):
        request.draft.refuse(where, f"not an absolute path to show something at: {at}")
    elif real == "/":
        # By a link perhaps, that an earlier command made: what holds at the root would hold for the whole tree.
        request.draft.refuse(where, f"nothing can be shown at the root: {at}", "another root is filesystem.root")
    elif any(is_below(real, place.path) for place in request.places):
        request.shown.append((grant, real))
    elif found is None or stat.S_ISDIR(found.mode) != grant.is_directory:
        kind = "directory" if grant.is_directory else "file"
        hint = f"make an empty {kind} there, or show it in a place of its own, such as a private /tmp"
        request.draft.refuse(where, f"nothing to mount on: {os.fspath(at)} is no {kind}", hint)
    else:
        request.shown.append((grant, real))


def _judge_shown_places(request: Request, grant: Grant, at: str) -> None:
    """What the host has in the stead of private places must not be seen by another name, unless that is asked for."""
    key = "filesystem.rules"
    for path in (place.path for place in request.places if is_below(place.path, grant.path)):
        if path == grant.path:
            request.note(key, f"{at} shows the host's own {path}")
        else:
            lost = f"{at} shows the host's own {path} too, of which the command has another"
            request.lose(key, lost, f"show less than {grant.path}, or {accept(key)}")
