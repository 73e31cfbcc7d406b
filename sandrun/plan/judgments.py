"""What is judged once all of a request is known: hard links of what is denied, what overlays meet, and what private
places give; links and files among what is granted."""

from __future__ import annotations

import posixpath
import stat

from sandrun.plan.draft import accept
from sandrun.plan.siblings import READ, is_below
from sandrun.plan.view import CHANGE_FILES
from sandrun.primitives.landlock import FILE_RIGHTS, FS
from sandrun.primitives.view import VIEW_OVERLAY
from sandrun.rooted import links_on

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from sandrun.host import Host
    from sandrun.plan.requests import Request
    from sandrun.plan.siblings import Grant


def judge_hard_links(request: Request) -> None:
    """A file with names that nobody denied is not denied. Names inside a denied directory are not looked for."""
    for hole in request.holes if request.grants else ():
        found = request.context.host.lstat(hole.path)
        if found is None or hole.soft or not stat.S_ISREG(found.mode) or found.nlink < 2:
            continue
        same = [other.path for other in request.holes if other.identity == hole.identity and not other.soft]
        names = len({_entry(path, request.context.host) for path in same})
        if names < found.nlink:
            lost = f"{hole.path} has {found.nlink} names (hard links), and {names} of them denied"
            request.lose(hole.key, lost, f"deny every name: find / -xdev -samefile {hole.path}")


def _entry(path: str, host: Host) -> tuple[object, str]:
    """What tells one name of a file from another: its directory, which a mount may show in many places, and the name."""
    directory, name = posixpath.split(path)
    found = host.lstat(directory)
    return (found.dev, found.ino) if found else directory, name


def judge_overlays(request: Request) -> None:
    """An overlay is all there is below its path: what a rule shows would be hidden by it or hide it, and a commit would
    write what a denial covers.

    Inside an overlay only mounts deny, and what is absent cannot be covered; once made, a commit would make it.
    """
    overlays = [place.path for place in request.places if place.operation == VIEW_OVERLAY]
    host = request.context.host
    for at, where in {at: where for _, at, where in request.elsewhere}.items() if overlays else ():
        real = host.realpath(posixpath.normpath(at))
        met = next((path for path in overlays if is_below(real, path) or is_below(path, real)), None)
        if met is not None:
            hint = f"show it outside of {met}, or overlay another directory"
            request.draft.refuse(
                where, f"cannot show anything at {at}: it and the overlay {met} lie in each other", hint
            )
    for ask, _, grant in request.asked if overlays else ():
        denial = next((hole for hole in request.holes if not hole.soft and is_below(grant.path, hole.path)), None)
        if ask.key == "filesystem.overlay" and denial is not None:
            what = "denied" if denial.denies_all else "kept read-only"
            hint = "overlay another directory, or deny less"
            request.refuse(ask, f"cannot overlay {grant.path}: {denial.path} is {what} ({denial.key})", hint)
    for hole in request.holes:
        around = next((path for path in overlays if is_below(hole.path, path)), None)
        if around is not None and hole.identity is None:
            lost = f"{hole.path} lies in the overlay {around}, and nothing is there that a mount could cover"
            request.lose(hole.key, lost, f"make {hole.path} first, or {accept(hole.key)}")


def judge_private_places(request: Request) -> None:
    """A rule of Landlock holds for all below it, so one on a private place holds for what of the host is shown in it.

    Only mounts narrow it there: to reading, or to nothing where something is to be covered.
    """
    seen = tuple(_seen_in_places(request))
    for path, top, given, grant in seen:
        granted = grant.access | _granted(request, path) | _granted(request, grant.path)
        more = given & ~granted & ~FS["ioctl_dev"] & (-1 if grant.is_directory else FILE_RIGHTS)
        more &= -1 if granted & CHANGE_FILES else ~CHANGE_FILES
        names = [name for name, right in FS.items() if more & right]
        if any(ask.key == "filesystem.rules" and other is grant for ask, _, other in request.asked) and names:
            if names == ["execute"]:
                request.note("filesystem.rules", f"{path} lies in {top}, and what is in it can be executed")
                continue
            lost = f"{path} lies in {top}, a place of the command's own, which gives it more rights: {', '.join(names)}"
            hint = f'show it outside of {top} with "at", or grant them, or {accept("filesystem.rules")}'
            request.lose("filesystem.rules", lost, hint)
    for hole in request.holes:
        if hole.identity is not None or hole.soft or not hole.denied & READ:
            continue
        top = next((top for path, top, given, _ in seen if is_below(hole.path, path) and given & READ), "")
        if top:
            lost = f"{hole.path} lies in {top}, a place of the command's own, and nothing is there that a mount could cover"
            request.lose(hole.key, lost, f'make {hole.path} first, end the entry in "?", or {accept(hole.key)}')


def _seen_in_places(request: Request) -> Iterator[tuple[str, str, int, Grant]]:
    """What of the host is shown in places: its path there, the place, the rights that hold for it by that, the grant."""
    tops = [place for place in request.places if place.access and place.operation != VIEW_OVERLAY]
    moved = [grant for grant, _, _ in request.elsewhere]
    at_home = [(grant.path, grant) for grant in request.grants if not any(grant is other for other in moved)]
    for path, grant in (*at_home, *((at, grant) for grant, at in request.shown)) if tops else ():
        around = [place for place in tops if is_below(path, place.path)]
        given = 0
        for place in around:
            given |= place.access
        if given:
            yield path, around[-1].path, given, grant


def _granted(request: Request, path: str) -> int:
    access = 0
    for grant in request.grants:
        access |= grant.access if is_below(path, grant.path) else 0
    return access


def judge_links(request: Request) -> None:
    """A link that an earlier command in this sandbox could have made must not choose what this launch grants."""
    host = request.context.host
    linked = {grant for _, path, grant in request.asked if path != grant.path}
    linked -= {grant for _, path, grant in request.asked if path == grant.path}
    writable = [grant for grant in request.grants if grant.is_directory and grant.access & FS["make_sym"]]
    # What was made in an overlay is there once it is committed.
    writable += [grant for ask, _, grant in request.asked if ask.key == "filesystem.overlay"]
    certain = [grant for grant in writable if grant not in linked]
    for ask, path, grant in request.asked:
        # A target that the command can write anyway gives it nothing.
        if path == grant.path or _covers(certain, grant.path):
            continue
        planted = (at for at in links_on(path, host.readlink) if _covers(writable, posixpath.dirname(at)))
        for at in planted:
            message = f"{at} is a link to {grant.path} that a command in this sandbox could have made"
            request.refuse(ask, message, f"grant its target by name if it is meant: {grant.path}")
            break


def _covers(grants: list[Grant], path: str) -> bool:
    return any(is_below(path, grant.path) for grant in grants)


def judge_files(request: Request) -> None:
    """A rule on a file holds for that file, not for one that takes its name."""
    host = request.context.host
    for ask, _, grant in request.asked:
        if grant.is_directory or not grant.access & FS["write_file"]:
            continue
        directory = posixpath.dirname(grant.path)
        found = host.lstat(grant.path)
        covered = any(
            other.is_directory and other.access & FS["write_file"] and is_below(directory, other.path)
            for other in request.grants
        )
        if not covered and (found is None or stat.S_ISREG(found.mode)):
            request.draft.warnings.append(
                f"{ask.value.origin}: {grant.path} is granted as one file: if a program replaces it by rename, the grant "
                "is gone; grant its directory instead"
            )
