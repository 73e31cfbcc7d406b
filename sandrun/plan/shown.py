"""What of the files is shown: whether there is a view, what stands in it, and which rules hold there.

The mounts keep what Landlock cannot (chmod, names in a directory, the path of a program), and Landlock stays in force
underneath: a rule on what only the view has is made in it, any other one before.
"""

from __future__ import annotations

import os

from sandrun.plan import egress
from sandrun.plan.account import is_dynamic
from sandrun.plan.format import MAY_VANISH
from sandrun.plan.lookups import lookup_files
from sandrun.plan.namespaces import NOT_ASKED, missing
from sandrun.plan.siblings import is_below
from sandrun.plan.view import CHANGE_FILES, build
from sandrun.policy import guards
from sandrun.primitives import namespaces
from sandrun.rooted import RootedHost

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sandrun.host import Host
    from sandrun.kernel import Kernel
    from sandrun.plan.draft import Draft
    from sandrun.plan.requests import Request
    from sandrun.plan.siblings import Grant
    from sandrun.plan.view import View
    from sandrun.profile.model import Profile

MASKED = ("filesystem.deny", "filesystem.deny_write")
DAC_READ_SEARCH, SYS_ADMIN = 1 << 2, 1 << 21
"""Numbers of capabilities(7), as bits."""


def view_wanted(profile: Profile) -> bool:
    """Whether a mount namespace would keep something that this profile asks for."""
    words = {"tmp": ("private",), "home": ("hidden", "private"), "proc": ("own", "none"), "dev": ("minimal",)}
    for name, wanted in words.items():
        value = profile.scalar(f"filesystem.{name}")
        if value is not None and value.value in wanted:
            return True
    if is_dynamic(profile.scalar("privileges.user")) or egress.wanted(profile):
        return True
    isolate = profile.scalar("process.isolate")
    if isolate is not None and isolate.value is True:
        return True
    if any(profile.values.get(f"filesystem.{name}") for name in ("deny", "deny_write", "overlay", "root")):
        return True
    # What is written makes the rest worth a read-only mount: Landlock does not know chmod.
    written = (*profile.items("filesystem.write"), *profile.items("filesystem.create"))
    if written and all(value.value.group != "@all" for value in written):  # type: ignore[attr-defined]
        return True
    return any(value.value.at for value in profile.items("filesystem.rules"))  # type: ignore[attr-defined]


def why_not(draft: Draft, kernel: Kernel) -> tuple[str, str]:
    """Why there is no mount namespace, and why no proc(5) of its own; "" for what there is."""
    if not view_wanted(draft.profile):
        return NOT_ASKED, NOT_ASKED
    why = missing(draft, kernel, namespaces.KINDS["mount"])
    why_no_pid = missing(draft, kernel, namespaces.KINDS["mount"] | namespaces.KINDS["pid"])
    isolate = draft.profile.scalar("process.isolate")
    if isolate is not None and isolate.value is False:
        no_proc = "which isolate = false refuses"
    else:
        no_proc = why_no_pid and f"which cannot be had here: {why_no_pid}"
    return why and f"which cannot be had here: {why}", no_proc


def resolve_view(request: Request, host: Host) -> View:
    """Set the records of the view; the plan then starts the command in a directory by name."""
    fields = request.draft.fields
    cwd = os.fsdecode(fields.get("cwd", b"")) or host.cwd
    made = (request.places, request.entries, lookup_files(request.draft, host))
    view = build(_in_place(request), *made, request.shown, request.holes, cwd, host)
    fields["view"] = view.records(set_id=not fields.get("no_new_privs", 1))
    kinds = namespaces.KINDS["mount"] | (0 if request.no_proc else namespaces.KINDS["pid"])
    fields["namespaces"] = fields.get("namespaces", 0) | kinds
    fields["cwd"] = os.fsencode(cwd or "/")
    _keep_view(request, fields.get("permitted", 0))
    for hole in request.holes:
        if hole.identity is None:
            continue
        if "mount" not in request.mechanisms.setdefault(hole.key, []):
            request.mechanisms[hole.key].append("mount")
        if hole.key in MASKED and any(g.access & CHANGE_FILES and is_below(hole.path, g.path) for g in request.grants):
            request.note(hole.key, f"{hole.path} is open if a process outside puts a new file in its place meanwhile")
    return view


def divide_rules(
    request: Request, view: View, rules: tuple[tuple[int, int, bytes], ...], handled: int
) -> tuple[tuple[int, int, bytes], ...]:
    """Rules on what the host has are made before the view is; those on what only the view has, in it. Returns both."""
    elsewhere = [grant.path for grant, _, _ in request.elsewhere]
    made = [(access & handled, kind, path) for access, kind, path in view.rules]
    before = []
    for access, kind, path in rules:
        name = os.fsdecode(path)
        is_moved = any(is_below(name, top) for top in elsewhere)
        # A rule holds for the file and not for its name, which need not be seen if another one is.
        is_host = view.is_host(name)
        if is_host or is_moved:
            before.append((access, kind, path))
        if not is_host:
            made.append((access, kind | (MAY_VANISH if is_moved else 0), path))
    fields = request.draft.fields
    fields["path_rules"], fields["view_rules"] = tuple(before), tuple(made)
    return (*fields["path_rules"], *made)


def _keep_view(request: Request, permitted: int) -> None:
    """Refuse the ways around mounts that a capability opens and Landlock does not see."""
    refused = [guards.file_handles("filesystem.read")] if permitted & DAC_READ_SEARCH else []
    if permitted & SYS_ADMIN:
        refused += guards.mounts("filesystem.read")
    if refused:
        request.draft.guards.extend(refused)
        request.mechanisms.setdefault("filesystem.read", []).append("seccomp")


def _in_place(request: Request) -> list[Grant]:
    """The grants that are seen at their own path. What is shown elsewhere need not be, and is not writable there."""
    grants = list(request.grants)
    for grant, _, _ in request.elsewhere if not isinstance(request.context.host, RootedHost) else ():
        grants.remove(grant)
    return grants
