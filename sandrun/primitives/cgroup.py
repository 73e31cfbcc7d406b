"""Control groups (cgroups(7)): one of the command's own, with limits, counters, and an end that no fork outruns.

LIGHT. `make` makes the group in the parent before the fork, the first forked process enters it by writing to `joins`,
and the parent reads the counters, kills and removes it. A Plan says where (`cgroup_parents`): with version 2 in one
directory, with version 1 in one for each controller, and there perhaps in one of version 2 besides, without controllers,
because only version 2 has `cgroup.kill`.

A group of ours is named `sandrun-PID-NUMBER`, belongs to our user, has mode 0700, and its maker holds a flock(2) on its
directory as long as it lives. So a group that can be locked was left by a launch that was killed: `sweep` ends it. The
mode keeps other users from holding such a lock for us.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time

from sandrun import libc
from sandrun.errors import SandrunError
from sandrun.plan.format import CGROUP_AFTER, CGROUP_ALONE, CGROUP_MAY_LACK, CGROUP_NONE, CGROUP_SCOPE, CGROUP_V1
from sandrun.primitives import cgroup_files as files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Protocol

    from sandrun.plan.format import Plan

    class Guardian(Protocol):
        """As in `guardian`, which knows this module and not the other way round."""

        def dismiss(self) -> None: ...


PREFIX = b"sandrun-"
BUSCTL = b"/usr/bin/busctl"
"""Not looked for on PATH: a directory there may be one that an earlier command could write to."""
MEMORY_FILES = (b"memory.max", b"memory.limit_in_bytes")
SCOPE_SECONDS = 5.0
_ATTEMPTS = 8


class Events:
    """What happened in a group. `memory_peak` is bytes, -1 if the kernel does not tell; `throttled` is seconds.

    `oom_kills` counts the processes that the kernel killed at `memory_limit` bytes (0 is no limit), `pids_refused` the
    forks that failed at the limit of processes.
    """

    __slots__ = ("memory_limit", "memory_peak", "oom_kills", "pids_refused", "throttled")

    def __init__(
        self,
        oom_kills: int = 0,
        memory_peak: int = -1,
        memory_limit: int = 0,
        pids_refused: int = 0,
        throttled: float = 0.0,
    ) -> None:
        self.oom_kills = oom_kills
        self.memory_peak = memory_peak
        self.memory_limit = memory_limit
        self.pids_refused = pids_refused
        self.throttled = throttled


class Group:
    """The group of one launch.

    `paths` are its directories, one for each of the plan's parents; `joins` are descriptors of their cgroup.procs, where
    a process that writes "0" moves itself; `own` is where the processes of `parent` went that stood in its way, or b"".
    `guardian` is the process that would remove the group in our place.
    """

    __slots__ = ("controllers", "guardian", "joins", "limits", "locks", "own", "parent", "paths")

    def __init__(self, plan: Plan) -> None:
        self.paths: list[bytes] = []
        self.joins: list[int] = []
        self.locks: list[int] = []
        self.limits = plan.cgroup_limits
        self.controllers = plan.cgroup_controllers
        self.own = self.parent = b""
        self.guardian: Guardian | None = None

    def dismiss(self) -> None:
        """Let the guardian go. From here on this process must remove the group."""
        if self.guardian:
            self.guardian.dismiss()
            self.guardian = None

    def join(self) -> None:
        """In the child: move this process into the group."""
        for fd in self.joins:
            os.write(fd, b"0")

    def settle(self) -> None:
        """Once the command has been executed: its descriptors are not needed any more, the last limits hold."""
        while self.joins:
            os.close(self.joins.pop())
        for number, flags, file, value in self.limits:
            if flags & CGROUP_AFTER:
                _set(self.paths[number], file, value)

    def kill(self) -> None:
        """Send SIGKILL to every process in it. With version 1 that takes some rounds, and nothing can fork meanwhile."""
        for path in self.paths:
            if files.kill_at_once(path):
                return
        for path in self.paths:
            files.stop_forks(path)
        for path in self.paths:
            files.kill_each(path)

    def is_empty(self) -> bool:
        """Whether no process is left in it; a zombie does not count."""
        return not any(files.members(path) for path in self.paths)

    def events(self) -> Events:
        """The counters so far. A file that this kernel does not have counts nothing."""
        events = Events()
        for path in self.paths:
            memory = files.counters(path + b"/memory.events") or files.counters(path + b"/memory.oom_control")
            events.oom_kills += memory.get(b"oom_kill", 0)
            for file in (b"/memory.peak", b"/memory.max_usage_in_bytes"):
                peak = files.read(path + file).strip()
                events.memory_peak = int(peak) if peak.isdigit() else events.memory_peak
            events.pids_refused += files.counters(path + b"/pids.events").get(b"max", 0)
            cpu = files.counters(path + b"/cpu.stat")
            events.throttled += cpu.get(b"throttled_usec", 0) / 1e6 + cpu.get(b"throttled_time", 0) / 1e9
        events.memory_limit = next((int(value) for _, _, file, value in self.limits if file in MEMORY_FILES), 0)
        return events

    def remove(self) -> tuple[tuple[bytes, int], ...]:
        """Kill what is left in it and remove it; what cannot be removed is returned, with the errno."""
        self.dismiss()
        self.kill()
        left = [(path, number) for path in self.paths if (number := files.remove(path))]
        self.paths = []
        if self.own and not left:
            left += self._step_back()
        for fd in (*self.joins, *self.locks):
            os.close(fd)
        self.joins, self.locks = [], []
        return tuple(left)

    def _step_back(self) -> list[tuple[bytes, int]]:
        """Undo `_step_aside`: a group with controllers for its children takes no processes of its own."""
        try:
            files.write(self.parent + b"/cgroup.subtree_control", b" ".join(b"-" + name for name in self.controllers))
            files.move_all(self.own, self.parent)
        except OSError as error:
            return [(self.own, error.errno or 0)]
        number = files.remove(self.own)
        return [(self.own, number)] if number else []


def make(plan: Plan) -> Group | None:
    """Make the group that the plan asks for, with its limits; None if it asks for none.

    Raises SandrunError with nothing left. Call it in the process that will supervise: its life is the group's.
    """
    if plan.cgroup_way == CGROUP_NONE:
        return None
    group = Group(plan)
    try:
        _build(group, plan)
    except BaseException:
        group.remove()
        raise
    return group


def _build(group: Group, plan: Plan) -> None:
    parents = plan.cgroup_parents
    if plan.cgroup_way == CGROUP_SCOPE:
        parents = (_enter_scope(parents[0]),)
    for parent in parents:
        sweep(parent)
    if plan.cgroup_way in (CGROUP_ALONE, CGROUP_SCOPE):
        group.parent = parents[0]
        group.own = _make_below(parents[0], group.locks)
        try:
            files.move_all(parents[0], group.own)
        except OSError as error:
            raise _error("leave the control group", parents[0], error) from None
    if plan.cgroup_way != CGROUP_V1:
        _enable(parents[0], plan.cgroup_controllers)
    for parent in parents:
        group.paths.append(_make_below(parent, group.locks))
    for number, flags, file, value in plan.cgroup_limits:
        if not flags & CGROUP_AFTER:
            _limit(group.paths[number], flags, file, value)
    for path in group.paths:
        try:
            group.joins.append(os.open(path + b"/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC))
        except OSError as error:
            raise _error("open the control group", path, error) from None


def _error(what: str, path: bytes, error: OSError) -> SandrunError:
    return SandrunError(f"cannot {what}: {os.fsdecode(path)}: {libc.strerror(error.errno or 0)}")


def _make_below(parent: bytes, locks: list[int]) -> bytes:
    """A new directory in `parent`, locked by us.

    Between the two a `sweep` of another launch may have taken it for abandoned; then it is gone, and the next is tried.
    """
    number = errno.EEXIST
    for _ in range(_ATTEMPTS):
        path = parent + b"/%s%d-%d" % (PREFIX, os.getpid(), time.monotonic_ns())
        try:
            os.mkdir(path, 0o700)
            fd = _lock(path)
        except OSError as error:
            number = error.errno or 0
            if number in (errno.EEXIST, errno.ENOENT):
                continue
            break
        if fd >= 0 and os.path.isdir(path):
            locks.append(fd)
            return path
        if fd >= 0:
            os.close(fd)
    raise SandrunError(f"cannot make a control group: below {os.fsdecode(parent)}: {libc.strerror(number)}")


def _lock(path: bytes) -> int:
    """A descriptor of the directory that holds its lock, or -1 if another process holds it."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        return -1
    return fd


def _enable(parent: bytes, controllers: Iterable[bytes]) -> None:
    """Give the children of `parent` these controllers (version 2)."""
    file = parent + b"/cgroup.subtree_control"
    missing = set(controllers) - set(files.read(file).split())
    if missing:
        try:
            files.write(file, b" ".join(b"+" + name for name in sorted(missing)))
        except OSError as error:
            raise _error("enable controllers", file, error) from None


def _limit(path: bytes, flags: int, file: bytes, value: bytes) -> None:
    """Set one limit. A file that this kernel does not have is an error unless the plan says otherwise."""
    try:
        _set(path, file, value)
    except OSError as error:
        if flags & CGROUP_MAY_LACK and error.errno in (errno.ENOENT, errno.EACCES, errno.EOPNOTSUPP):
            return
        raise SandrunError(
            f"cannot set {os.fsdecode(file)} to {os.fsdecode(value)}: {os.fsdecode(path)}: "
            f"{libc.strerror(error.errno or 0)}"
        ) from None


def _set(path: bytes, file: bytes, value: bytes) -> None:
    files.write(path + b"/" + file, value)


def sweep(parent: bytes) -> None:
    """Remove the groups below `parent` whose launch was killed, with all that is still in them."""
    try:
        names = [name for name in os.listdir(parent) if is_ours(name)]
    except OSError:
        return
    for name in names:
        path = parent + b"/" + name
        try:
            fd = _lock(path)
            if fd < 0:
                continue
            if os.fstat(fd).st_uid == os.geteuid():
                if not files.kill_at_once(path):
                    files.stop_forks(path)
                    files.kill_each(path)
                files.remove(path)
            os.close(fd)
        except OSError:
            continue  # somebody else removed it


def is_ours(name: bytes) -> bool:
    """Whether a group of this name is one that `make` makes."""
    words = name.removeprefix(PREFIX).split(b"-")
    return name.startswith(PREFIX) and len(words) == 2 and all(word.isdigit() for word in words)


# --- a scope of systemd ----------------------------------------------------------------------------------------------


def _enter_scope(mount: bytes) -> bytes:
    """Have systemd move this process into a new scope that is delegated to us; returns the scope's directory.

    `StartTransientUnit` of org.freedesktop.systemd1(5). The manager does it in its own time, so look until it is done.
    """
    unit = b"sandrun-%d.scope" % os.getpid()
    properties = [b"PIDs", b"au", b"1", b"%d" % os.getpid(), b"Delegate", b"b", b"true"]
    properties += [b"CollectMode", b"s", b"inactive-or-failed"]
    most = files.lowest_pids_max(mount, mount + files.own_path())
    if most:
        properties += [b"TasksMax", b"t", most]
    bus = b"--system" if os.geteuid() == 0 else b"--user"
    argv = [BUSCTL, bus, b"--quiet", b"call", b"org.freedesktop.systemd1", b"/org/freedesktop/systemd1"]
    argv += [b"org.freedesktop.systemd1.Manager", b"StartTransientUnit", b"ssa(sv)a(sa(sv))", unit, b"fail"]
    status = _spawn([*argv, b"4" if most else b"3", *properties, b"0"])
    end = time.monotonic() + SCOPE_SECONDS
    while not status and time.monotonic() < end:
        path = files.own_path()
        if path.endswith(b"/" + unit):
            return mount + path
        time.sleep(files.PAUSE)
    why = f"busctl ended with status {status}" if status else "it did not come in time"
    raise SandrunError(
        f"cannot make a control group: a scope of systemd: {why}",
        hint=f"does this work: {delegating(root=os.geteuid() == 0)} true",
    )


def delegating(root: bool) -> str:
    """The words that start a command alone in a control group which systemd delegates, as root or as another user."""
    return f"systemd-run {'' if root else '--user '}--scope -p Delegate=yes"


def _spawn(argv: list[bytes]) -> int:
    """Run a program to its end; its exit status. It says nothing, and starts with no signal blocked."""
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    try:
        actions = [(os.POSIX_SPAWN_DUP2, null, fd) for fd in range(3)]
        pid = os.posix_spawn(argv[0], argv, os.environb, file_actions=actions, setsigmask=[])
    except OSError:
        return 127
    finally:
        os.close(null)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
