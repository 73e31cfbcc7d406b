"""Limits of the whole tree by a control group; where none can be had and the key is optional, by a weaker rlimit."""

from __future__ import annotations

import os
import posixpath
import resource

from sandrun.plan.draft import accept
from sandrun.plan.format import CGROUP_AFTER, CGROUP_MAY_LACK, CGROUP_SCOPE, KEEP
from sandrun.primitives import landlock
from sandrun.primitives.cgroup_place import KILLER
from sandrun.primitives.view import READ_ONLY, VIEW_BIND

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from sandrun.kernel import Kernel
    from sandrun.plan.draft import Draft
    from sandrun.primitives.cgroup_place import Cgroup

    Setting = tuple[str, int, str]
    """A file of the group, CGROUP_* flags, what is written to it."""

STAND_INS = {
    # key: the weaker limit of setrlimit(2) that stands in where the key is optional, and what is weaker about it
    "resources.memory": ("RLIMIT_AS", "address space of each process by itself, not memory of the whole tree"),
    "resources.pids": ("RLIMIT_NPROC", "counted for the whole user, and not at all for root"),
    "resources.cpu": (None, "processor time is not limited"),
    "resources.io": (None, "bytes a second are not limited"),
}
CONTROLLERS = {"resources.memory": "memory", "resources.pids": "pids", "resources.cpu": "cpu", "resources.io": "io"}
V1_NAMES = {"io": "blkio"}
USER_DELEGATES = "as root: systemctl edit user@.service, Delegate=yes below [Service]; then log in anew"
PERIOD_US = 100_000
_NEWPID = 0x20000000
"""CLONE_NEWPID (linux/sched.h)."""
INIT, MAKER = 1, 1
"""Processes of ours in the group besides the command, in a pid namespace: one to the end, one until it runs."""
DIRECT_ONLY = "writes that the kernel puts off are not limited by control groups of version 1"
PUT_OFF = "each disk by itself, reading and writing each; network file systems not at all"


def resolve_resources(draft: Draft, kernel: Kernel) -> dict[int, int]:
    """Set the `cgroup_*` fields. Returns the limits of setrlimit(2) that stand in for what is lost, by number.

    Call it last of all parts that set fields: it looks at the grants and the namespaces.
    """
    asked = {key: value for key in STAND_INS if (value := draft.profile.scalar(key)) is not None}
    if not asked:
        return {}
    cgroup = kernel.cgroup
    stand_ins: dict[int, int] = {}
    settings: list[tuple[str, Setting]] = []
    for key, value in asked.items():
        amount = value.value
        assert isinstance(amount, int)  # noqa: S101  what the readers of sizes, counts and percentages give
        controller = CONTROLLERS[key] if cgroup.version == 2 else V1_NAMES.get(CONTROLLERS[key], CONTROLLERS[key])
        trouble, hint = _trouble(draft, kernel, controller)
        name, weaker = STAND_INS[key]
        if trouble:
            draft.lose(key, f"{trouble}; {weaker}", f"{hint}, or {accept(key)}", *(("setrlimit",) if name else ()))
            if name:
                stand_ins[getattr(resource, name)] = amount
            continue
        if key == "resources.io" and cgroup.version == 1:
            draft.lose(key, DIRECT_ONLY, f"control groups of version 2, or {accept(key)}", "cgroup")
        else:
            draft.record(key, "cgroup", notes=(PUT_OFF,) if key == "resources.io" else ())
        settings += ((controller, one) for one in _settings(key, amount, cgroup, _ours(draft)))
    if settings:
        _set_fields(draft, cgroup, settings)
    return stand_ins


def _ours(draft: Draft) -> int:
    return INIT if draft.fields.get("namespaces", 0) & _NEWPID else 0


def _trouble(draft: Draft, kernel: Kernel, controller: str) -> tuple[str, str]:
    """Why this controller cannot limit the command here, and what to do; ("", "") if it can."""
    cgroup = kernel.cgroup
    if not cgroup.usable:
        return cgroup.reason, cgroup.hint
    if not cgroup.place(controller):
        if cgroup.version == 1:
            return f"the controller {controller} is not mounted", "mount it"
        if cgroup.way == CGROUP_SCOPE and kernel.uid:
            return f"the controller {controller} is not delegated to the systemd of this user", USER_DELEGATES
        what = "is not given to the control group of this process"
        return f"the controller {controller} {what}", "see cgroup.controllers"
    if controller in ("io", "blkio") and not cgroup.disks:
        return "no disk can be seen in /sys/block", "mount sysfs on /sys"
    if draft.fields.get("uid", KEEP) in (KEEP, kernel.uid):
        for point in cgroup.mounts:
            if _can_write(draft, point):
                top = posixpath.commonpath(cgroup.mounts)
                return f"the command could leave its control group: {point} is writable", f"--deny-write {top}"
    return "", ""


def _can_write(draft: Draft, point: str) -> bool:
    """Whether a rule lets the command write to a group: on a mount point of control groups, above it or below."""
    write = landlock.FS["write_file"]
    over = [flags for _, flags, path, _ in draft.fields.get("view", ()) if _within(point, os.fsdecode(path))]
    inside = [flags for _, flags, path, _ in draft.fields.get("view", ()) if _within(os.fsdecode(path), point)]
    shown = [
        flags
        for operation, flags, path, source in draft.fields.get("view", ())
        if operation == VIEW_BIND
        and path != source
        and (_within(point, os.fsdecode(source)) or _within(os.fsdecode(source), point))
    ]
    if over and all(flags & READ_ONLY for flags in (over[-1], *inside, *shown)):
        return False
    if not draft.fields.get("landlock_fs", 0) & write:
        return True
    for access, _, name in draft.fields.get("path_rules", ()):
        path = os.fsdecode(name)
        if access & write and (_within(path, point) or _within(point, path)):
            return True
    return False


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _settings(key: str, amount: int, cgroup: Cgroup, ours: int) -> Iterator[Setting]:
    """The files that keep this key, in the order in which they must be written.

    `ours`: a pid namespace brings an init, which counts as a process, and another one until the command runs.
    """
    newer = cgroup.version == 2
    if key == "resources.memory":
        yield ("memory.max" if newer else "memory.limit_in_bytes"), 0, str(amount)
        # Else what the limit refuses would go to swap, as much as there is. Kernels without swap have no such file.
        yield from (
            [("memory.swap.max", CGROUP_MAY_LACK, "0"), ("memory.oom.group", CGROUP_MAY_LACK, "1")]
            if newer
            else [("memory.memsw.limit_in_bytes", CGROUP_MAY_LACK, str(amount))]
        )
    elif key == "resources.pids":
        yield "pids.max", 0, str(amount + ours + (MAKER if ours else 0))
        if ours:
            yield "pids.max", CGROUP_AFTER, str(amount + ours)
    elif key == "resources.cpu":
        quota = amount * PERIOD_US // 100
        if newer:
            yield "cpu.max", 0, f"{quota} {PERIOD_US}"
        else:
            yield "cpu.cfs_period_us", 0, str(PERIOD_US)
            yield "cpu.cfs_quota_us", 0, str(quota)
    else:
        for disk in cgroup.disks:
            if newer:
                yield "io.max", 0, f"{disk} rbps={amount} wbps={amount}"
            else:
                yield "blkio.throttle.read_bps_device", 0, f"{disk} {amount}"
                yield "blkio.throttle.write_bps_device", 0, f"{disk} {amount}"


def _set_fields(draft: Draft, cgroup: Cgroup, settings: list[tuple[str, Setting]]) -> None:
    """With version 1, a group in `pids` and for `cgroup.kill` too, asked for or not: they end the group."""
    wanted = [controller for controller, _ in settings]
    if cgroup.version == 1:
        wanted += ["pids", KILLER]
    elif "io" in wanted:
        wanted.append("memory")  # without it the kernel does not know whose a write is that it put off
    places = dict.fromkeys(place for name in wanted if (place := cgroup.place(name)))
    numbers = {place: number for number, place in enumerate(places)}
    draft.fields["cgroup_way"] = cgroup.way
    draft.fields["cgroup_parents"] = tuple(os.fsencode(place) for place in places)
    if cgroup.version == 2:
        names = dict.fromkeys(name for name in wanted if cgroup.place(name))
        draft.fields["cgroup_controllers"] = tuple(name.encode() for name in names)
    draft.fields["cgroup_limits"] = tuple(
        (numbers[cgroup.place(controller)], flags, file.encode(), text.encode())
        for controller, (file, flags, text) in settings
    )
