"""Where this process can have control groups made, found by making one. Not LIGHT; asked only by what needs limits."""

from __future__ import annotations

import os
import posixpath
import time

from sandrun import libc
from sandrun.named import NamedTuple
from sandrun.plan.format import CGROUP_ALONE, CGROUP_BELOW, CGROUP_SCOPE, CGROUP_V1
from sandrun.primitives.cgroup import BUSCTL, delegating
from sandrun.primitives.cgroup_place import KILLER, NONE_MOUNTED, Cgroup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

CONTROLLERS = ("memory", "pids", "cpu", "blkio", "io")
LIMITS = ("memory.max", "memory.high", "cpu.max", "io.max", "cpuset.cpus")
"""Set only for a reason, while systemd sets pids.max on every unit; a scope is given that of the caller."""
PROC_PID_INIT_INO = 0xEFFFFFFC
"""The inode of the first pid namespace (linux/proc_ns.h, and since Linux 6.17 linux/nsfs.h)."""


class Hierarchy(NamedTuple):
    """A mounted hierarchy: where, which controllers (of version 1, or none), and the directory of this process in it.

    `directory` is "" if that lies outside of what is mounted.
    """

    version: int
    point: str
    controllers: frozenset[str]
    directory: str


def probe() -> Cgroup:
    """Look at what is mounted, and try to make a group there."""
    found = hierarchies(_read("/proc/self/cgroup"), _read("/proc/self/mountinfo"))
    if not found:
        return Cgroup()
    mounts = tuple(dict.fromkeys(one.point for one in found))
    newer = next((one for one in found if one.version == 2), None)
    older = {name: one for one in found for name in one.controllers if name in CONTROLLERS}
    result = _version_1(older, newer) if older or newer is None else _version_2(newer)
    return result._replace(mounts=mounts, disks=_disks())


def hierarchies(groups: str, mountinfo: str) -> tuple[Hierarchy, ...]:
    """The hierarchies in /proc/PID/mountinfo, with the places that /proc/PID/cgroup tells. Pure."""
    own = {}
    for line in groups.splitlines():
        _, names, path = line.split(":", 2)
        own[frozenset(names.split(",")) - {""}] = path
    found: list[Hierarchy] = []
    for line in mountinfo.splitlines():
        head, _, tail = line.partition(" - ")
        fields, (fstype, _, options) = head.split(), tail.split()
        if fstype not in ("cgroup", "cgroup2"):
            continue
        on_it = frozenset(options.split(",") if fstype == "cgroup" else ())
        place = next((path for group, path in own.items() if group <= on_it and bool(group) == bool(on_it)), "")
        below = posixpath.relpath(place, fields[3]) if place else ".."
        directory = "" if below.startswith("..") else posixpath.normpath(posixpath.join(fields[4], below))
        found.append(Hierarchy(2 if fstype == "cgroup2" else 1, fields[4], on_it & {*CONTROLLERS}, directory))
    return tuple(found)


def _version_1(older: dict[str, Hierarchy], newer: Hierarchy | None) -> Cgroup:
    """A hierarchy for each controller. A group of version 1 takes processes and children side by side."""
    tried = {one.directory: _trouble(one.directory) for one in older.values()}
    places = [(name, one.directory) for name, one in older.items() if not tried[one.directory]]
    if not places:
        hint = "run it as root: version 1 cannot be delegated" if os.geteuid() else "mount it for writing"
        return Cgroup(1, reason=next(iter(tried.values()), NONE_MOUNTED), hint=hint)
    if newer is not None and not _trouble(newer.directory):
        places.append((KILLER, newer.directory))
    return Cgroup(1, CGROUP_V1, tuple(places), reason="", hint="")


def _version_2(newer: Hierarchy) -> Cgroup:
    """The first way that is open.

    A group other than the root can have processes or controllers for its children, never both (cgroups(7), "no internal
    processes"). So: below the caller's group if that is the root, or if sandrun is alone in it and can step aside; else,
    if that is no way out of a limit that binds the caller, in a scope of systemd; else, for root, below the root of the
    hierarchy.
    """
    own, top = newer.directory, newer.point
    at_root = not os.path.exists(own + "/cgroup.type")
    trouble = _trouble(own)
    if not trouble and at_root:
        return _found(CGROUP_BELOW, own)
    pids = _read(own + "/cgroup.procs").split()
    if not trouble and pids == [str(os.getpid())] and os.access(own + "/cgroup.subtree_control", os.W_OK):
        return _found(CGROUP_ALONE, own)
    root = not os.geteuid()
    systemd, bound = _systemd(top) if _read(top + "/cgroup.controllers") else "", ""
    if systemd:
        bound = _bound(own, top, f"{systemd}/{'system' if root else 'app'}.slice", LIMITS)
        if not bound:
            return _found(CGROUP_SCOPE, top, _read(systemd + "/cgroup.controllers") or "cpu io memory pids")
    if root and not os.path.exists(top + "/cgroup.type") and not _trouble(top):
        bound = bound or _bound(own, top, top, (*LIMITS, "pids.max"))
        if not bound:
            return _found(CGROUP_BELOW, top)
    reason = trouble or f"other processes are in the control group {own}, so that it cannot be divided"
    if bound:
        reason = f"no control group can be made below {own}, and one elsewhere would be a way out of {bound}"
    return Cgroup(2, reason=reason, hint=f"start it alone in a control group: {delegating(root)} sandrun ...")


def _found(way: int, place: str, controllers: str = "") -> Cgroup:
    names = (controllers or _read(place + "/cgroup.controllers")).split()
    return Cgroup(2, way, tuple((name, place) for name in CONTROLLERS if name in names), reason="", hint="")


def _bound(own: str, top: str, elsewhere: str, limits: Iterable[str]) -> str:
    """The file of a limit that binds the caller and would not bind a group in `elsewhere`, "" if there is none."""
    while own != top and len(own) > len(top) and not f"{elsewhere}/".startswith(f"{own}/"):
        for limit in limits:
            if _read(f"{own}/{limit}").split()[:1] not in ([], ["max"]):
                return f"{own}/{limit}"
        own = posixpath.dirname(own)
    return ""


def _systemd(top: str) -> str:
    """The directory of the manager of systemd that can be asked for a scope, "" if none can be."""
    if not (os.access(BUSCTL, os.X_OK) and _is_known_by_number()):
        return ""
    if not os.geteuid():
        sockets = os.path.exists("/run/systemd/private") and os.path.exists("/run/dbus/system_bus_socket")
        return top if sockets else ""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if not (runtime and os.path.exists(runtime + "/bus") and os.path.exists(runtime + "/systemd/private")):
        return ""
    uid = os.geteuid()
    return f"{top}/user.slice/user-{uid}.slice/user@{uid}.service"


def _is_known_by_number() -> bool:
    """Whether our process ids are those of systemd, which would else move another process than this one.

    So it is in the first pid namespace, and in that of a container whose process 1 is a systemd of its own. The sockets
    of the host may have been mounted into any other.
    """
    try:
        first = os.stat("/proc/self/ns/pid").st_ino == PROC_PID_INIT_INO
    except OSError:
        first = False
    return first or _read("/proc/1/comm") == "systemd\n"


def _trouble(directory: str) -> str:
    """Why no group can be made in a directory, "" if one could."""
    if not directory:
        return "the control group of this process cannot be seen from here"
    path = f"{directory}/sandrun-{os.getpid()}-{time.monotonic_ns()}"
    try:
        os.mkdir(path, 0o700)
    except OSError as error:
        return f"no control group can be made below {directory}: {libc.strerror(error.errno or 0)}"
    is_group = os.path.exists(path + "/cgroup.procs")
    try:  # noqa: SIM105 (contextlib is 2 ms of every launch)
        os.rmdir(path)
    except OSError:
        pass  # what is left is empty
    return "" if is_group else f"something else is mounted over the control groups: {directory}"


def _disks() -> tuple[str, ...]:
    return tuple(_devices(sorted(_names("/sys/block"))))


def _devices(names: Iterable[str]) -> Iterable[str]:
    for name in names:
        if _read(f"/sys/block/{name}/size").strip() not in ("", "0"):
            yield _read(f"/sys/block/{name}/dev").strip()


def _names(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []


def _read(path: str) -> str:
    """A file of the kernel as text, "" if it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""
