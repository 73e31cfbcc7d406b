"""The files: grants and denials of a profile → Landlock path rules, and what of them this kernel cannot keep.

Every right of the kernel's ABI is always handled, so that what nobody grants is refused. What an ABI lacks is refused by
seccomp, or the promise is lost; a profile never means less on an older kernel without the record saying so.

A grant and a denial hold for what a path leads to when the command is launched: links are followed then, once.
"""

from __future__ import annotations

import os
import posixpath

from sandrun import elf
from sandrun.host import home_of
from sandrun.plan import shown
from sandrun.plan.command import find, obstacles
from sandrun.plan.draft import accept
from sandrun.plan.environment import command_path
from sandrun.plan.format import KIND_DIRECTORY
from sandrun.plan.groups import Context
from sandrun.plan.places import own_ssh_settings
from sandrun.plan.requests import PROMISES, Request, collect
from sandrun.plan.siblings import TooManyRulesError, expand, parent
from sandrun.plan.view import CHANGE_FILES
from sandrun.policy import guards
from sandrun.primitives.landlock import EXECUTE, FS, FS_ABI, NET_ABI, NEWEST_ABI, READ, WRITE, fs_mask
from sandrun.profile.paths import expand as expand_path
from sandrun.rooted import RootedHost

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sandrun.host import Account, Host
    from sandrun.kernel import Kernel
    from sandrun.plan.draft import Draft
    from sandrun.plan.siblings import Expansion
    from sandrun.plan.view import View

OTHER_KEYS = ("create", "rules", "deny", "deny_write", "tmp", "home", "proc", "dev", "root", "overlay")
"""Keys that are recorded only where a profile writes them; read, write and execute are promised to every command."""
NOT_BY_LANDLOCK = ("filesystem.root", "filesystem.overlay")
"""Keys that Landlock keeps no part of."""
NO_LANDLOCK = {
    "missing": ("this kernel has no Landlock", "Linux 5.13 or newer, built with CONFIG_SECURITY_LANDLOCK"),
    "disabled": ("Landlock is disabled", "boot with landlock in the list of lsm="),
    "refused": ("an outer sandbox refuses Landlock", "allow the landlock_* system calls in its seccomp profile"),
}
SHOW_INSTEAD = {
    "filesystem.tmp": "share the temporary directories (--tmp host)",
    "filesystem.home": "share the home directory (--home host)",
    "filesystem.dev": "share the devices (--dev host)",
}
"""What else to say where it is a default that stands in the way of a wide grant."""
MOUNT_MASK = "leave the directories around it out of the writable grants"
NO_REFER = "files cannot be moved or linked to another directory: needs Landlock ABI 2"
DAC_OVERRIDE, DAC_READ_SEARCH = 1 << 1, 1 << 2
"""Numbers of capabilities(7), as bits."""


def resolve_filesystem(draft: Draft, kernel: Kernel, host: Host, argv: Sequence[str], account: Account | None) -> None:
    """Set the fields about files, the guards that stand in for rights the ABI lacks, and the record.

    Raises CommandError if the command cannot be found (127) or executed (126).
    """
    fields = draft.fields
    context = context_of(draft, host, argv, account)
    start = context.start
    request = collect(draft, context, *shown.why_not(draft, kernel))
    abi = min(kernel.landlock_abi, NEWEST_ABI)
    handled = fs_mask(abi)
    if request.has_view and kernel.needs_userns:
        own_ssh_settings(request)
    view = shown.resolve_view(request, host) if request.has_view else None
    fields["create"] = tuple(os.fsencode(path) for path in sorted(request.create))
    fields["private_dirs"] = tuple(request.private_dirs)
    if request.private_dirs:
        fields["private_access"] = (READ | WRITE | EXECUTE) & handled
    # Another root stays inside path rules: a descriptor of a directory outside is then no way out.
    if request.is_everything and not isinstance(host, RootedHost):
        # Reaching named sockets is the network's promise, and stays handled for it. A domain that handles any right
        # forbids to move files to another directory unless it grants that; one that handles none lets mount.
        if handled & FS["resolve_unix"]:
            fields["landlock_fs"] = FS["resolve_unix"] | FS["refer"]
            fields["path_rules"] = ((FS["refer"], KIND_DIRECTORY, b"/"),)
        elif abi and (abi < NET_ABI["connect_tcp"] or draft.egress):
            # Nothing else makes a Landlock domain here. In one the command cannot trace others (landlock(7)), whose
            # memory /proc/PID/mem would open, and with it the network that they have. So a right is handled and granted.
            fields["landlock_fs"] = handled & FS["refer"] or handled & FS["make_block"]
            fields["path_rules"] = ((fields["landlock_fs"], KIND_DIRECTORY, b"/"),)
        # A rule must not name what the ruleset does not handle.
        fields["private_access"] = fields.get("private_access", 0) & fields.get("landlock_fs", 0)
        for key in PROMISES:
            request.note(key, "everything is granted")
        if 0 < abi < FS_ABI["refer"]:
            request.note("filesystem.write", NO_REFER)
        _record(request, "none")
        return
    if not abi:
        _lose_everything(request, kernel, view)
        return
    fields["landlock_fs"] = handled
    try:
        expansion = expand(request.grants, request.holes, host, covered=bool(view))
    except TooManyRulesError as error:
        draft.refuse(
            "", f"too many path rules are needed around what is denied: {error.path}", "deny or grant less deep"
        )
        return
    rules = _path_rules(expansion, handled)
    fields["path_rules"] = rules
    fields["holes"] = _closed(request, expansion)
    if view is not None:
        rules = shown.divide_rules(request, view, rules, handled)
    _judge_expansion(request, expansion)
    _fill_in_old_abi(request, abi)
    _judge_metadata(request, rules, view)
    _record(request, "landlock")
    if not draft.problems:
        draft.warnings += obstacles(start, lambda path: allowed(rules, path), host)


def context_of(draft: Draft, host: Host, argv: Sequence[str], account: Account | None) -> Context:
    """Whom the groups of paths are for. Raises CommandError if the command cannot be found (127) or executed (126)."""
    home = home_of(host, account)
    start = _find_command(draft, host, argv, account, home)
    uid = account.uid if account else host.uid
    kept = draft.fields.get("permitted", 0) & (DAC_OVERRIDE | DAC_READ_SEARCH)
    return Context(host, uid, home, start, beyond_modes=uid == 0 or bool(kept))


def allowed(rules: Iterable[tuple[int, int, bytes]], path: str, host: Host | None = None) -> int:
    """The rights that `Plan.path_rules` give on a canonical path: those of the rules on it and above it, united.

    With `host` rules are found as the kernel finds them, by file and not by name, so that hard links and bind mounts
    of what is granted are seen. Rights that the plan does not handle are not in the answer.
    """
    by_name: dict[str, int] = {}
    for access, _, data in rules:
        name = os.fsdecode(data)
        by_name[name] = by_name.get(name, 0) | access
    by_file: dict[tuple[int, int], int] = {}
    for name, access in by_name.items() if host else ():
        found = host.lstat(name) if host else None
        if found is not None:
            by_file[found.dev, found.ino] = by_file.get((found.dev, found.ino), 0) | access
    result = 0
    while True:
        found = host.lstat(path) if host else None
        result |= by_file.get((found.dev, found.ino), 0) if found else by_name.get(path, 0)
        if path in ("/", ""):
            return result
        path = parent(path)


def _find_command(draft: Draft, host: Host, argv: Sequence[str], account: Account | None, home: str) -> elf.Start:
    cwd = draft.profile.scalar("process.cwd")
    place = host.cwd
    if cwd is not None:
        place = expand_path(cwd, host, home)[0]
    path = command_path(draft, host, account)
    executable = find(argv[0] if argv else "", path, place, host)
    draft.fields["executable"] = os.fsencode(executable)

    def look_up(name: str) -> str | None:
        candidates = (posixpath.join(place, directory, name) for directory in path.split(":"))
        return next((file for file in candidates if file.startswith("/") and host.stat(file)), None)

    return elf.trace(executable, host, look_up)


def _path_rules(expansion: Expansion, handled: int) -> tuple[tuple[int, int, bytes], ...]:
    """The rules in the order of their paths, without those that the rules above them make needless."""
    rules: dict[str, tuple[int, int, bytes]] = {}
    for path, (access, kind) in sorted(expansion.rules.items()):
        above = 0
        at = path
        while at != "/":
            at = parent(at)
            above |= rules[at][0] if at in rules else 0
        if access & handled & ~above:
            rules[path] = (access & handled, kind, os.fsencode(path))
    return tuple(rules.values())


def _closed(request: Request, expansion: Expansion) -> tuple[bytes, ...]:
    """The holes on which no rule may stand, by any name. A hidden place that is granted outright is none."""
    shown = {hole.identity for hole in request.holes if hole.path in expansion.rules}
    paths = {hole.path for hole in request.holes if hole.denies_all and hole.path not in expansion.rules}
    shown_too = {hole.path for hole in request.holes if hole.identity is not None and hole.identity in shown}
    return tuple(sorted(os.fsencode(path) for path in paths - shown_too))


def _lose_everything(request: Request, kernel: Kernel, view: View | None) -> None:
    """Without Landlock only mounts keep anything about files, and what is allowed anyway."""
    why, hint = NO_LANDLOCK.get(kernel.landlock_state, NO_LANDLOCK["missing"])
    profile = request.draft.profile
    promised = [
        key for key, right in PROMISES.items() if request.holes or request.groups.get("@all", 0) & right != right
    ]
    listed = [f"filesystem.{name}" for name in ("rules", "deny", "deny_write") if profile.items(f"filesystem.{name}")]
    hidden = [hole.key for hole in request.holes]
    if view is not None:
        covered = {hole.key for hole in request.holes} - {hole.key for hole in request.holes if hole.identity is None}
        promised = [key for key in promised if key != "filesystem.write"]
        listed = [key for key in listed if key not in covered]
        hidden = [key for key in hidden if key not in covered]
    for key in dict.fromkeys((*promised, *listed, *hidden)):
        request.lose(key, f"{key} cannot be enforced: {why}", hint)
    _record(request, "none")


def _judge_expansion(request: Request, expansion: Expansion) -> None:
    """What leaving holes out of trees costs: lost where the tree is writable, noted where it is not."""
    for hole, directories in expansion.frozen.items():
        if hole.key in PROMISES:  # an exception that a group makes by itself: nobody was promised more
            continue
        lost = f"{hole.path} lies in a writable tree: nothing can be made, renamed or removed in {_some(directories)}"
        way_out = SHOW_INSTEAD.get(hole.key, MOUNT_MASK)
        if request.has_view:
            lost, way_out = f"{lost}, since nothing is there that a mount could cover", f"make {hole.path} first"
        else:
            lost += f"; covering it takes a mount namespace, {request.no_view}"
        request.lose(hole.key, lost, f"{way_out}, or {accept(hole.key)}")
    for hole, grants in expansion.narrowed.items():
        request.note(hole.key, f"wins over the grant of {_some(grants)}")
    split: dict[str, list[str]] = {}
    for hole, directories in expansion.split.items():
        split.setdefault(hole.key, []).extend(directories)
    for key, directories in split.items():
        request.note(key, f"entries that appear later in {_some(directories)} are not granted")
    for directory in expansion.unlisted:
        request.note("filesystem.read", f"nothing in {directory} is granted, since it cannot be listed")


def _some(paths: Iterable[str]) -> str:
    """The first of some paths, in words."""
    first, *rest = dict.fromkeys(paths)
    shown = [first, *rest[:2]]
    return ", ".join(shown) + (f" and {len(rest) - 2} more" if len(rest) > 2 else "")


def _fill_in_old_abi(request: Request, abi: int) -> None:
    """Refuse by other means what this ABI has no right for, or say that it is open."""
    if abi < FS_ABI["refer"]:
        request.note("filesystem.write", NO_REFER)
    if abi < FS_ABI["truncate"]:
        request.draft.guards.extend(guards.truncate_by_path("filesystem.write"))
        request.note(
            "filesystem.write", "truncate(2) by path is refused also where writing is granted: needs Landlock ABI 3"
        )
    if abi < FS_ABI["ioctl_dev"]:
        request.draft.guards.extend(guards.open_without_access("filesystem.write"))
        request.mechanisms.setdefault("filesystem.write", []).append("seccomp")
        request.note(
            "filesystem.write", "ioctl(2) on devices that can be opened is not restricted: needs Landlock ABI 5"
        )
    for name in ("ioctl_dev", "resolve_unix"):
        if request.named & FS[name] and abi < FS_ABI[name]:
            lost = f"{name} cannot be restricted: needs Landlock ABI {FS_ABI[name]}, here {abi}"
            request.lose("filesystem.rules", lost, "a newer kernel, or leave that right out of the rules")


def _judge_metadata(request: Request, rules: Iterable[tuple[int, int, bytes]], view: View | None) -> None:
    """Landlock does not know chmod, chown, utime and xattr.

    A read-only mount refuses them outside what is granted; else seccomp does where the command changes no file at all.
    """
    writable = bool(request.create or request.private_dirs)
    for access, _, path in rules:
        if writable:
            break
        writable = bool(access & CHANGE_FILES) and not _is_device(os.fsdecode(path), request.context.host)
    if view is not None:
        request.mechanisms.setdefault("filesystem.write", []).append("mount")
    if writable:
        if view is None:
            open_to_all = "chmod, chown, utime and setxattr are not covered: they work on every file that the user owns"
            request.note("filesystem.write", open_to_all)
        elif request.draft.profile.items("broker.input"):
            # Through the descriptor of an input, that is of the host's mount.
            request.note("filesystem.write", "chmod, chown, utime and setxattr reach the files of inputs")
        request.draft.guards.extend(guards.subvolumes("filesystem.write"))
    else:
        request.draft.guards.extend(guards.metadata("filesystem.write"))
        request.mechanisms.setdefault("filesystem.write", []).append("seccomp")


def _is_device(path: str, host: Host) -> bool:
    found = host.lstat(path)
    return found is not None and found.mode & 0o170000 in (0o020000, 0o060000)


def _record(request: Request, mechanism: str) -> None:
    """One protection for each promise and each key that was written, with what was found on the way."""
    draft = request.draft
    written = [f"filesystem.{name}" for name in OTHER_KEYS if f"filesystem.{name}" in draft.profile.values]
    for key in (*PROMISES, *written):
        own = request.mechanisms.get(key, [])
        by_landlock = mechanism == "landlock" and key not in NOT_BY_LANDLOCK
        mechanisms = tuple(dict.fromkeys(([mechanism] if by_landlock else []) + own))
        lost = request.lost.get(key)
        if lost:
            draft.lose(key, "; ".join(dict.fromkeys(text for text, _ in lost)), lost[0][1], *mechanisms)
        else:
            draft.record(key, *(mechanisms or ("none",)), notes=tuple(dict.fromkeys(request.notes.get(key, ()))))
