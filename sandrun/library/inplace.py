"""`enter`: confine the calling process from here on, once it has set itself up.

There is no child and nobody who watches: what takes one of them (namespaces, a timeout, control groups, directories to be
removed afterwards) is refused, and so is what could reach some of several threads only.
"""

from __future__ import annotations

import os
import sys
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from sandrun import failure, libc, steps
from sandrun.alone import Alone
from sandrun.cli.options import parse
from sandrun.errors import Problem, SandrunError, StepError, UnsupportedError
from sandrun.host import System
from sandrun.kernel import Kernel, probe, with_landlock
from sandrun.library.start import Start
from sandrun.library.status import Enforcement
from sandrun.plan import environment
from sandrun.plan.format import CGROUP_NONE, FIELDS, KEEP, NICE_KEEP, TTY_NEW_SESSION, TTY_PTY, Plan
from sandrun.plan.resolve import resolve
from sandrun.primitives import fds, ids, landlock
from sandrun.profile import load

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sandrun.library.words import Source
    from sandrun.plan.draft import Protection
    from sandrun.plan.resolve import Resolution
    from sandrun.profile.model import Profile

IN_PLACE = frozenset(
    (
        "set umask and nice value",
        "drop the bounding set",
        "set groups",
        "set gid",
        "set uid",
        "set capabilities",
        "verify ids and capabilities",
        "enter the working directory",
        "die with the supervisor",
        "set resource limits",
        "set no_new_privs",
        "enter the Landlock ruleset",
        "load the seccomp filter",
    )
)
"""The steps of a launch that a process can take for itself. The others make what only a child has, or end at execve(2)."""
TSYNC_ESRCH = 1 << 4
"""seccomp(2): a thread that cannot be synchronised is an error of its own, not a positive answer; Linux 5.7."""
TSYNC_ABI = landlock.RESTRICT_FLAGS_ABI["tsync"]
NO_BROKER = "nobody stays to make them"
NO_NAMESPACES = "a process that is confined in place makes none"
RUN_INSTEAD = "run that part of the program by sandrun.run or sandrun.call"
BY_HALVES = "this process is confined in part, and not to be trusted with anything: end it"


class Entry(NamedTuple):
    """What is to be kept in this process, and how. `variables` are those that the profile brings with their values."""

    profile: Profile
    kernel: Kernel
    resolution: Resolution
    variables: Mapping[str, str] = MappingProxyType({})


def enter(profile: Source | Iterable[Source] = "default", **overrides: Any) -> tuple[Enforcement, ...]:
    """Confine this process, all its threads and what it starts, from here on and for ever; the record of what is enforced.

    `profile` and the overrides are those of `run`. The program that is confined is this interpreter, so that `@runtime`
    holds its library. Descriptors that are open stay open, and what is in memory stays there; `os.environ` keeps what the
    profile passes on.

    Everything is checked before the first step that cannot be taken back. Raises ProfileError or UsageError for a profile
    that is wrong, UnsupportedError for what this kernel or a process in place cannot keep, and for threads that could not
    be confined as well: Landlock reaches other threads from ABI 8 on only (landlock_restrict_self(2)). After a StepError
    this process is confined in part, and should end.
    """
    return confine(prepare(profile, overrides))


def prepare(profile: Source | Iterable[Source], overrides: dict[str, Any], *, kept: bool = False) -> Entry:
    """What `confine` is to do, checked as far as can be. Raises SandrunError.

    `kept`: a process that is forked from this one is to be confined, and this one keeps the time and removes the private
    directories.
    """
    start = Start([_program()], profile, overrides)
    before = dict(os.environ)
    brought = {name: value for name, value in (start.environment or {}).items() if before.get(name) != value}
    try:
        request = parse([*start.options, "--", _program()])
        loaded = load(
            request.profiles,
            request.overrides,
            replace=request.replace,
            optional=request.optional,
            require=request.require,
        )
        os.environ.update(brought)  # which the plan passes on by their names
        kernel = probe()._replace(namespace_reason=NO_NAMESPACES, broker=NO_BROKER)
        entry = _planned(loaded, kernel, 1 if kept else _threads())._replace(variables=brought)
    finally:
        _set_environ(before)
        start.close()
    _check(entry, kept=kept)
    return entry


def _planned(profile: Profile, kernel: Kernel, threads: int) -> Entry:
    """The plan; where Landlock would miss some threads one that keeps all without it, if there is any."""
    if threads == 1 or not 0 < kernel.landlock_abi < TSYNC_ABI:
        return Entry(profile, kernel, resolve(profile, kernel, System(), (_program(),)))
    without = with_landlock(kernel, 0)
    try:
        return Entry(profile, without, resolve(profile, without, System(), (_program(),)))
    except UnsupportedError:
        resolve(profile, kernel, System(), (_program(),))  # what is wrong in any case is to be told first
        why = f"Landlock ABI {TSYNC_ABI} is needed for that, here {kernel.landlock_abi}"
        raise _not_all(threads, why) from None


def _not_all(threads: int, why: str) -> UnsupportedError:
    message = f"cannot confine all {threads} threads of this process: {why}"
    return UnsupportedError([Problem("", message, "call enter before the first thread is started")])


def confine(entry: Entry, private: tuple[bytes, ...] = (), supervisor: int = -1) -> tuple[Enforcement, ...]:
    """Take the steps in this process. `private` are the directories for the plan's `private_dirs`.

    `supervisor` is a pidfd of the parent with which this process is to die, -1 if with none.
    """
    plan = entry.resolution.plan
    threads = _check_threads(entry)
    if threads > 1:
        plan = _for_all_threads(plan)
    opened: list[int] = []
    job = steps.Job(plan, Alone(), [], private, None, opened)
    job.supervisor = supervisor
    wanted = _wanted(entry, plan, private)
    try:
        for job.at, (name, step) in enumerate(steps.CHILD_STEPS):
            if name in IN_PLACE:
                _take(job, name, step, plan)
    finally:
        for fd in opened:
            os.close(fd)
    _set_environ(wanted)
    return tuple(_in_place(protection) for protection in entry.resolution.enforcement)


def _take(job: steps.Job, name: str, step: Any, plan: Plan) -> None:
    job.argument = 0
    try:
        step(job)
    except OSError as error:
        failed = failure.step_failed(plan, name, error.errno or 0, job.argument)
        raise StepError(
            name, error.errno or 0, failed.message, hint="; ".join(filter(None, (failed.hint, BY_HALVES)))
        ) from error


def _program() -> str:
    """This interpreter, for which `@runtime` is found."""
    return sys.executable or os.readlink("/proc/self/exe")


def _wanted(entry: Entry, plan: Plan, private: tuple[bytes, ...]) -> dict[str, str]:
    """The variables that stay: what the profile passes on, over it what it sets, over it the private directories."""
    given = environment.values(entry.profile, entry.resolution.account)
    here = {**os.environ, **entry.variables}
    wanted = {name: here[name] for name in map(os.fsdecode, plan.env_pass) if name in here}
    wanted |= {os.fsdecode(name): os.fsdecode(given[name]) for name in plan.env_set}
    return wanted | {
        os.fsdecode(name): os.fsdecode(path) for name, path in zip(plan.private_dirs, private, strict=True)
    }


def _set_environ(wanted: dict[str, str]) -> None:
    for name in set(os.environ) - set(wanted):
        del os.environ[name]
    os.environ.update(wanted)


def _in_place(protection: Protection) -> Enforcement:
    """The record of a launch says of some protections what only an execve(2) does."""
    key, requested, mechanisms, state, lost, notes = protection
    if key == "process.pass_fds":
        mechanisms, notes = (), ("what is open stays open",)
    if key == "environment.pass":
        mechanisms = ("os.environ",)
    return Enforcement(key, state, mechanisms, requested, lost, notes)


def _check(entry: Entry, *, kept: bool) -> None:
    """Raise UnsupportedError with all that a process cannot have in place, by the keys that ask for it."""
    plan = entry.resolution.plan
    share = "the caller can set it"
    asked = (
        (plan.tty in (TTY_NEW_SESSION, TTY_PTY), "process.tty", "another terminal", 'tty="protected"'),
        (plan.deadline_ms >= 0 and not kept, "time.timeout", "a timeout", f"signal.alarm, or {RUN_INSTEAD}"),
        (
            b"TMPDIR" in plan.private_dirs and not kept,
            "filesystem.tmp",
            "a directory of its own",
            'leave it out: replace=["filesystem.tmp"]',
        ),
        (
            b"HOME" in plan.private_dirs and not kept,
            "filesystem.home",
            "a directory of its own",
            'leave it out: replace=["filesystem.home"]',
        ),
        (plan.create, "filesystem.create", "files to be made first", "make them, and grant them by write"),
        (plan.view, "filesystem", "mounts", RUN_INSTEAD),
        (plan.egress or plan.publish or plan.broker_filter, "network.connect", "hosts by name", RUN_INSTEAD),
        (plan.cgroup_way != CGROUP_NONE, "resources", "a control group", RUN_INSTEAD),
        (plan.id_helpers or plan.dynamic, "privileges.user", "a user of its own", RUN_INSTEAD),
        (plan.apparmor, "privileges.apparmor", "a label that comes with execve(2)", RUN_INSTEAD),
        (plan.selinux, "privileges.selinux", "a label that comes with execve(2)", RUN_INSTEAD),
        (entry.profile.items("broker.input"), "broker.input", "inputs of a broker", "open, and pass on what is needed"),
        (entry.profile.items("broker.output"), "broker.output", "outputs that somebody checks", RUN_INSTEAD),
        (plan.namespaces, "process.namespaces", "namespaces", f"{share}: os.unshare, or {RUN_INSTEAD}"),
    )
    problems = [
        Problem(_origin(entry, key), f"cannot be had in place: {what} ({key})", hint)
        for is_asked, key, what, hint in asked
        if is_asked
    ]
    if problems:
        raise UnsupportedError(problems)
    fds.check(plan.pass_fds)
    ids.check(plan)


def _origin(entry: Entry, key: str) -> str:
    return next(iter(entry.profile.origins(key)), "")


def _threads() -> int:
    """How many threads there are. Raises SandrunError without /proc."""
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError as error:
        message = f"cannot count the threads: /proc/self/task: {libc.strerror(error.errno or 0)}"
        raise SandrunError(message, hint="call enter where /proc can be read") from None


def _check_threads(entry: Entry) -> int:
    """How many threads there are. Raises UnsupportedError if the plan cannot reach them all."""
    threads = _threads()
    plan = entry.resolution.plan
    if threads > 1 and plan.landlock_abi and entry.kernel.landlock_abi < TSYNC_ABI:
        raise _not_all(threads, f"Landlock ABI {TSYNC_ABI} is needed for that, here {entry.kernel.landlock_abi}")
    if threads > 1 and _changes_credentials(plan):
        raise _not_all(threads, "ids, capabilities, securebits and the nice value are those of one thread")
    return threads


def _changes_credentials(plan: Plan) -> bool:
    effective, permitted, inheritable = libc.capget()
    sets = (plan.permitted, plan.permitted, plan.inheritable)
    changes = (plan.uid, plan.gid) != (KEEP, KEEP) or plan.set_groups or plan.securebits or plan.ambient
    return bool(changes or (effective, permitted, inheritable) != sets or plan.nice != NICE_KEEP)


def _for_all_threads(plan: Plan) -> Plan:
    fields = {name: getattr(plan, name) for name, _, _ in FIELDS}
    fields["seccomp_flags"] |= libc.SECCOMP_FILTER_FLAG_TSYNC | TSYNC_ESRCH
    fields["landlock_flags"] |= landlock.RESTRICT_FLAGS["tsync"] if plan.landlock_abi else 0
    return Plan(**fields)
