"""What the next launch believes: sandrun's own code, profiles that are looked for by name, workspaces, plans that are kept.

A command that could write there would decide what the next one may do. So a grant of writing that covers such a place
leaves it out by a read-only mount, or is refused, as is one inside of it. Granting `@all` is meant and stays.
"""

from __future__ import annotations

import posixpath

from sandrun.plan.draft import accept
from sandrun.plan.namespaces import NOT_ASKED
from sandrun.plan.siblings import CHANGE, is_below, make_hole
from sandrun.plan.view import CHANGE_FILES
from sandrun.plancache.place import ACCOUNTS, CACHE_VARIABLE, MOST_ACCOUNTS, home_in
from sandrun.primitives.view import VIEW_OVERLAY
from sandrun.rooted import RootedHost

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sandrun.host import Host
    from sandrun.plan.requests import Request

KEY = "filesystem.write"
SYSTEM_PLACES = ("/etc/sandrun", "/var/lib/sandrun")
USER_PLACES = (("XDG_CONFIG_HOME", ".config"), ("XDG_STATE_HOME", ".local/state"))
"""Variables, and what stands below a home for each: profiles; workspaces and plans (CACHE_BELOW in plancache/place.py)."""


def _homes(host: Host) -> tuple[str, ...]:
    """Every home that some launch of this user could look below: the next one may have another HOME, or none, and plans
    are looked for below the one in the file, which need not be the one that getpwuid(3) finds."""
    host = host.host if isinstance(host, RootedHost) else host
    account = host.account(host.uid)
    found = (
        host.environ.get("HOME", ""),
        account.home if account else "",
        home_in(host.read(ACCOUNTS, MOST_ACCOUNTS) or b"", host.uid),
    )
    return tuple(dict.fromkeys(home for home in found if home.startswith("/")))


def _names(host: Host) -> tuple[str, ...]:
    """The paths by which a launch looks for these places, whatever the variables say that lead it elsewhere."""
    homes = _homes(host)
    bases = [host.environ.get(variable, "") for variable, _ in USER_PLACES]
    bases += [posixpath.join(home, below) for home in homes for _, below in USER_PLACES]
    own = [posixpath.join(base, "sandrun") for base in bases if base.startswith("/")]
    if (cache := host.environ.get(CACHE_VARIABLE, "")).startswith("/"):
        own.append(cache)
    return tuple(dict.fromkeys((*host.launcher(), *own, *SYSTEM_PLACES)))


def places(host: Host) -> tuple[str, ...]:
    """The canonical paths, whether anything is there or not."""
    return tuple(dict.fromkeys(host.realpath(path) for path in _names(host)))


def links(host: Host) -> tuple[str, ...]:
    """The symbolic links on the way to these places, each by its canonical path; not those inside of them."""
    found: list[str] = []
    waiting = list(_names(host))
    while waiting:
        path = waiting.pop()
        while path not in ("/", ""):
            target = host.readlink(path)
            folder = posixpath.dirname(path)
            if target is not None:
                folder = host.realpath(folder)
                link = posixpath.join(folder, posixpath.basename(path))
                if link not in found:
                    found.append(link)
                    waiting.append(posixpath.join(folder, target))
            path = folder
    real = places(host)
    return tuple(link for link in sorted(found) if not any(is_below(link, path) for path in real))


def _seen(paths: Callable[[Host], tuple[str, ...]], host: Host) -> tuple[str, ...]:
    """The names by which the command would reach these paths of the host."""
    if not isinstance(host, RootedHost):
        return paths(host)
    return tuple(name for path in paths(host.host) for name in host.inner(path))


def _outer(path: str, host: Host) -> str:
    return host.outer(path) if isinstance(host, RootedHost) else path


def _tops(request: Request) -> list[str]:
    """Where the command may write, each with all below it; the changes of an overlay may be committed."""
    tops = [grant.path for grant in request.grants if grant.access & CHANGE_FILES]
    return tops + [place.path for place in request.places if place.operation == VIEW_OVERLAY]


def _writable(request: Request, path: str) -> str:
    """What lets the command write at a path, "" if nothing does."""
    covering = [top for top in _tops(request) if is_below(path, top)]
    hidden = any(
        is_below(path, place.path) and not any(is_below(top, place.path) for top in covering)
        for place in request.places
    )
    return covering[0] if covering and not hidden else ""


def protect(request: Request) -> None:
    """Leave these places out of what the command may write, or say that this cannot be had."""
    if request.groups.get("@all", 0) & CHANGE_FILES:
        return
    host = request.context.host
    absent: dict[str, list[str]] = {}
    for link in _seen(links, host):
        # Nothing can be mounted on a link, so nothing keeps it from being replaced.
        if granted := _writable(request, link):
            lost = f"{granted} may be written, and with it {link}, a link to what the next launch of sandrun trusts"
            request.lose(KEY, lost, f"put what it leads to in its place, grant less, or {accept(KEY)}")
    own = _seen(places, host)
    for top in dict.fromkeys(_tops(request)):
        if any(top != path and is_below(top, path) for path in own):
            # Nothing of it is left to be protected: all that is granted is trusted.
            lost = f"{top} may be written, which the next launch of sandrun trusts"
            request.lose(KEY, lost, f"work in another directory, or {accept(KEY)}")
    for path in own:
        granted = _writable(request, path)
        if not granted:
            continue
        if host.stat(path) is None:
            absent.setdefault(granted, []).append(path)
        elif not request.has_view:
            lost = f"{granted} may be written, and with it {path}, which the next launch of sandrun trusts"
            # Sharing a place of the host is no wish for a view, so it may be missing where it could be had.
            hint = "--isolate true asks for one; or " if request.no_view == NOT_ASKED else ""
            hint += "grant less, or keep sandrun elsewhere (pipx installs it outside of projects)"
            request.lose(
                KEY, f"{lost}: protecting it takes a mount namespace, {request.no_view}", f"{hint}, or {accept(KEY)}"
            )
        else:
            request.holes.append(make_hole(path, CHANGE, KEY, host))
            request.note(KEY, f"{path} stays read-only: the next launch of sandrun trusts it")
    for granted, paths in absent.items():
        lost = f"{granted} may be written, and profiles or workspaces planted in it, which the next launch of sandrun trusts"
        request.lose(
            KEY,
            lost,
            f"make what can be protected: mkdir -p {' '.join(_outer(path, host) for path in paths)}, or {accept(KEY)}",
        )
