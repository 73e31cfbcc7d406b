"""What the next launch believes: sandrun's own code, the profiles that are looked for by name, the workspaces.

A command that could write there would decide what the next one may do. So a grant of writing that covers such a place
leaves it out by a read-only mount, or is refused. Granting `@all` is meant and stays.
"""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from sandrun.plan.draft import accept
from sandrun.plan.siblings import CHANGE, is_below, make_hole
from sandrun.plan.view import CHANGE_FILES
from sandrun.rooted import RootedHost

if TYPE_CHECKING:
    from sandrun.host import Host
    from sandrun.plan.requests import Request

KEY = "filesystem.write"
SYSTEM_PLACES = ("/etc/sandrun", "/var/lib/sandrun")
USER_PLACES = (("XDG_CONFIG_HOME", ".config"), ("XDG_STATE_HOME", ".local/state"))


def places(host: Host) -> tuple[str, ...]:
    """The canonical paths, whether anything is there or not."""
    account = host.account(host.uid)
    home = host.environ.get("HOME") or (account.home if account else "")
    own = list(host.launcher())
    for variable, below in USER_PLACES:
        base = host.environ.get(variable, "")
        if not base.startswith("/"):
            base = posixpath.join(home, below) if home.startswith("/") else ""
        if base:
            own.append(posixpath.join(base, "sandrun"))
    return tuple(dict.fromkeys(host.realpath(path) for path in (*own, *SYSTEM_PLACES)))


def _seen(host: Host) -> tuple[str, ...]:
    """The names by which the command would reach these places."""
    if not isinstance(host, RootedHost):
        return places(host)
    return tuple(name for path in places(host.host) for name in host.inner(path))


def _outer(path: str, host: Host) -> str:
    return host.outer(path) if isinstance(host, RootedHost) else path


def protect(request: Request) -> None:
    """Leave these places out of what the command may write, or say that this cannot be had."""
    if request.groups.get("@all", 0) & CHANGE_FILES:
        return
    host = request.context.host
    absent: dict[str, list[str]] = {}
    for path in _seen(host):
        covering = [grant for grant in request.grants if grant.access & CHANGE_FILES and is_below(path, grant.path)]
        hidden = any(
            is_below(path, place.path) and not any(is_below(grant.path, place.path) for grant in covering)
            for place in request.places
        )
        if not covering or hidden:
            continue
        if host.stat(path) is None:
            absent.setdefault(covering[0].path, []).append(path)
        elif not request.has_view:
            lost = f"{covering[0].path} may be written, and with it {path}, which the next launch of sandrun trusts"
            hint = "grant less, or keep sandrun elsewhere (pipx installs it outside of projects)"
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
