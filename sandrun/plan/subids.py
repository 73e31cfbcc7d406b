"""Another user for who may not change ids: in a user namespace that maps ids of the caller's own sub-ranges. Pure.

subuid(5) and subgid(5) give an account ids that nobody else has. An id N of the profile is N inside and one of these
outside, always the same one, so what it may do to the host is what a stranger may. The caller's own id is mapped as
itself, since the namespace is set up by it; the way back to it is closed with the capabilities.
"""

from __future__ import annotations

import os
import stat

from sandrun.plan.namespaces import missing, use
from sandrun.primitives.namespaces import KINDS
from sandrun.primitives.view import VIEW_OVERLAY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from sandrun.host import Host
    from sandrun.kernel import Kernel
    from sandrun.plan.draft import Draft
    from sandrun.profile.model import Value

    _Ranges = tuple[tuple[int, int], ...]

RANGES = ("/etc/subuid", "/etc/subgid")
HELPERS = ("newuidmap", "newgidmap")
DIRECTORIES = ("/usr/bin", "/run/wrappers/bin")
"""Where set-user-ID programs of the system are; PATH is not asked, since it is the caller's word."""
FILES = frozenset((*RANGES, *(f"{directory}/{name}" for directory in DIRECTORIES for name in HELPERS)))
"""All that is asked of the host besides accounts."""
MOST = 1 << 20
NEEDED = "changing user or group needs CAP_SETUID and CAP_SETGID, or ids of the caller's own in a user namespace"
OWN = KINDS["pid"] | KINDS["mount"] | KINDS["ipc"]
"""Other launches and containers of the caller may use the same ids; these keep them apart."""
RECORDED = "privileges.user"


def resolve_mapped(
    draft: Draft, kernel: Kernel, host: Host, asked: Value, ids: tuple[int, int, tuple[int, ...]]
) -> bool:
    """Set the id fields and ask for the namespaces. `ids`: uid, gid and groups inside. False if it is refused."""
    uid, gid, groups = ids
    trouble, remedy = _trouble(draft, kernel, host)
    if trouble:
        draft.refuse(asked.origin, f"{NEEDED}: {trouble}", f"{remedy}; or run sandrun as root, or leave it out")
        return False
    ranges = [_ranges(host, path) for path in RANGES]
    uids = _map(host.uid, (uid,), ranges[0])
    # newgidmap leaves setgroups(2) allowed only where it maps a group of subgid(5), and the caller's groups must go.
    gids = _map(host.gid, (gid, *groups) if {gid, *groups} - {host.gid} else (host.gid + 1,), ranges[1])
    if not uids or not gids:
        path = RANGES[0] if not uids else RANGES[1]
        draft.refuse(asked.origin, f"{NEEDED}: the ranges in {path} are too small", "usermod(8) adds more")
        return False
    draft.fields.update(
        uid=uid,
        gid=gid,
        set_groups=1,
        groups=groups,
        uid_map=_text(uids),
        gid_map=_text(gids),
        id_helpers=tuple(os.fsencode(_helper(host, name)) for name in HELPERS),
    )
    use(draft, _own(draft))
    outside = ", ".join(str(gids[number]) for number in dict.fromkeys((gid, *groups)))
    note = f"outside it is uid {uids[uid]} and gid {outside}"
    origins = draft.profile.origins
    requested = origins("privileges.user") or origins("privileges.group") or origins("privileges.groups")
    draft.record(
        RECORDED,
        *("user namespace", *HELPERS, "setresuid", "setresgid", "setgroups"),
        notes=(note,),
        requested=requested,
    )
    return True


def check_mapped(draft: Draft) -> None:
    """Refuse what the caller would have to make, or to take over, for an id that it is not; call after the files, where
    ids are mapped."""
    fields = draft.fields
    for path in fields.get("create", ()):
        lost = f"cannot be made for another user by who may not change ids: {os.fsdecode(path)}"
        draft.refuse((*draft.profile.origins("filesystem.create"), "")[0], lost, "make it first, or leave the user out")
    for operation, _, path, _ in fields.get("view", ()):
        if operation == VIEW_OVERLAY:
            lost = f"changes of another user below {os.fsdecode(path)} could not be committed by who may not change ids"
            origins = (*draft.profile.origins("filesystem.overlay"), "")
            draft.refuse(origins[0], lost, "leave the overlay or the user out, or run sandrun as root")
    if fields.get("private_dirs") and not fields.get("view") and not draft.problems:
        lost = "a private directory for another user needs a mount namespace"
        draft.refuse("", lost, "leave the user out, or run sandrun as root")


def _own(draft: Draft) -> int:
    """The namespaces besides the user namespace: no pid namespace where the profile wants none."""
    isolate = draft.profile.scalar("process.isolate")
    return KINDS["mount"] if isolate is not None and isolate.value is False else OWN


def _trouble(draft: Draft, kernel: Kernel, host: Host) -> tuple[str, str]:
    """Why no ids can be mapped here, and what to do; ("", "") if they can."""
    account = host.account(host.uid)
    if account is None or not account.name:
        return f"uid {host.uid} has no account, which newuidmap asks for", "useradd(8) makes one"
    reason = missing(draft, kernel, _own(draft) | KINDS["user"])
    if reason:
        return reason, "see sandrun doctor"
    if not all(_helper(host, name) for name in HELPERS):
        return "newuidmap and newgidmap are not installed", "apt install uidmap (elsewhere shadow-utils)"
    for path, option in zip(RANGES, ("--add-subuids", "--add-subgids"), strict=True):
        if not _ranges(host, path):
            return f"{account.name} has no range in {path}", f"usermod {option} 100000-165535 {account.name}"
    return "", ""


def _helper(host: Host, name: str) -> str:
    """The path of a helper that belongs to root, "" if there is none."""
    for directory in DIRECTORIES:
        path = f"{directory}/{name}"
        found = host.stat(path)
        if found is not None and stat.S_ISREG(found.mode) and found.mode & 0o111 and found.uid == 0:
            return path
    return ""


def _ranges(host: Host, path: str) -> _Ranges:
    """The (first, count) of the caller in a file of subuid(5), whose lines name an account or its number."""
    account = host.account(host.uid)
    owners = (account.name if account else "", str(host.uid))
    found = []
    for line in (host.read(path, MOST) or b"").decode(errors="replace").splitlines():
        owner, _, numbers = line.strip().partition(":")
        first, _, count = numbers.partition(":")
        if owner in owners and first.isdecimal() and count.isdecimal() and int(count):
            found.append((int(first), int(count)))
    return tuple(found)


def _map(own: int, wanted: Iterable[int], ranges: _Ranges) -> dict[int, int]:
    """From ids inside to those outside, the caller's own as itself; empty if the ranges are too small.

    N is the N-th of the ranges, so that different users of different launches are different outside too. Should somebody
    have given away root's id or the caller's own, it is passed over.
    """
    mapped = {own: own}
    total = sum(count for _, count in ranges)
    for number in wanted:
        if number in mapped:
            continue
        candidates = (_nth(ranges, (number + step) % total) for step in range(total))
        free = next((one for one in candidates if one not in (0, *mapped.values())), None)
        if free is None:
            return {}
        mapped[number] = free
    return mapped


def _nth(ranges: _Ranges, place: int) -> int:
    for first, count in ranges:
        if place < count:
            return first + place
        place -= count
    raise IndexError(place)


def _text(mapped: dict[int, int]) -> bytes:
    return b"".join(b"%d %d 1\n" % pair for pair in mapped.items())
