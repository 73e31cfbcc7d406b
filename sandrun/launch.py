"""launch: execute a Plan in a child process, or tell which step failed.

LIGHT. The parent half: it prepares everything, so that the child has nothing left to do but the steps, starts it, and
waits until the command runs. The child is the native program's (`native.child`), or a fork that walks `steps`.
"""

from __future__ import annotations

import os

from sandrun import libc, native, places, steps
from sandrun.errors import EXIT_SANDRUN, SandrunError
from sandrun.primitives import private as removal
from sandrun.primitives import tree, view

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Protocol

    from sandrun.plan.format import Plan

    class Watch(steps.Watch, Protocol):
        """The supervisor itself as well."""

        def clear(self) -> None:
            """End all that is left of a command that was not launched."""

    _Started = tuple[int, int, tuple[int, int] | None]


class Child:
    """A running command: its pid, a pidfd (close-on-exec), and the private directories to remove after it.

    `init` is the pid and a pidfd of the init process of its pid namespace, None if it has none. With it everything in
    there dies.
    """

    __slots__ = ("init", "pid", "pidfd", "private")

    def __init__(self, pid: int, pidfd: int, private: tuple[bytes, ...], init: tuple[int, int] | None = None) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self.private = private
        self.init = init


def launch(
    plan: Plan, values: Mapping[bytes, bytes], watch: Watch, overlays: Sequence[tuple[bytes, bytes]] = ()
) -> Child:
    """Start the plan's command. On return it has been executed: its first instruction may have run.

    `values` are the values of `plan.env_set`, `overlays` the (upper, work) directories of its overlays. Expects what
    `watch.begin` sets up: descriptors 0 to 2 open, signals blocked, SIGCHLD not ignored. Raises CommandError if the
    command cannot be executed, StepError if the child failed before, SandrunError if the parent could not prepare; no
    process is left then, and no private directory.
    """
    places.check(plan)
    places.create_targets(plan)
    private = places.make_private(plan)
    try:
        environment = environment_vector(plan, values, private)
        started = _spawn(plan, watch, environment, private, overlays) if native.starts_children() else None
        pid, pidfd, init = started or _start(plan, watch, environment, private, overlays)
        if watch.group:
            watch.group.settle()
    except BaseException:
        if watch.group:
            watch.group.remove()
        if watch.relay:
            watch.relay.abandon()
        if watch.broker:
            watch.broker.end()
        watch.clear()
        for path in private:
            removal.remove(path)  # the failure on the way here is the one to tell
        raise
    return Child(pid, pidfd, private, init)


def environment_vector(plan: Plan, values: Mapping[bytes, bytes], private: tuple[bytes, ...]) -> list[bytes]:
    """`NAME=value` for execve(2): what is passed, over it what is set, over it the private directories."""
    inherited = os.environb
    merged = {name: inherited[name] for name in plan.env_pass if name in inherited}
    merged.update((name, values[name]) for name in plan.env_set)
    merged.update(zip(plan.private_dirs, private, strict=True))
    for name, value in merged.items():
        if b"\0" in value:
            raise SandrunError(f"cannot set {os.fsdecode(name)}: the value holds a null byte")
    return [name + b"=" + value for name, value in merged.items()]


def _spawn(
    plan: Plan,
    watch: Watch,
    environment: list[bytes],
    private: tuple[bytes, ...],
    overlays: Sequence[tuple[bytes, bytes]],
) -> _Started | None:
    """As `_start`, by the native program; None if it does nothing of this."""
    from sandrun.native import child  # noqa: PLC0415 (Python's own launches do without)

    try:
        spawned = child.spawn(plan, watch, environment, private, overlays)
    except OSError:
        return None  # it may not be executed here
    try:
        first = os.read(spawned.reader, steps.RECORD.size)
        if _is_refused(spawned.pid, first):
            os.waitpid(spawned.pid, 0)
            return None
        _handed_over(watch)
        return _wait_for_execve(plan, spawned.pid, spawned.reader, spawned.answer, first)
    finally:
        for fd in (spawned.reader, spawned.answer):
            if fd >= 0:
                os.close(fd)


def _is_refused(pid: int, first: bytes) -> bool:
    """Whether the native program has given up before it did anything; then it ends, or has ended without a word."""
    if first:
        return bool(steps.RECORD.unpack(first)[0] == steps.NOT_SERVED)
    end = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    return end is not None and (end.si_code, end.si_status) == (os.CLD_EXITED, EXIT_SANDRUN)


def _handed_over(watch: Watch) -> None:
    """The child has its copies of these channels: let go of ours."""
    if watch.relay:
        watch.relay.handed_over()
    if watch.broker:
        watch.broker.handed_over()


def _start(
    plan: Plan,
    watch: Watch,
    environment: list[bytes],
    private: tuple[bytes, ...],
    overlays: Sequence[tuple[bytes, bytes]],
) -> _Started:
    """Fork and wait until the command runs: its pid and pidfd, and those of the init process."""
    made = view.View(plan, private, overlays) if plan.view else None
    opened: list[int] = []
    try:
        try:
            opened += os.pipe2(os.O_CLOEXEC)
            job = steps.Job(plan, watch, environment, private, made, opened)
        except OSError as error:
            raise SandrunError(f"cannot prepare the launch: {libc.strerror(error.errno or 0)}") from None
        pid = _fork()
        if not pid:
            steps.walk(job)
        ours = [opened[0], *((job.asking.writer,) if job.asking else ())]
        for fd in opened:
            if fd not in ours:
                os.close(fd)
        opened[:] = ours
        _handed_over(watch)
        return _wait_for_execve(plan, pid, *ours)
    finally:
        for fd in opened:
            os.close(fd)


def _fork() -> int:
    try:
        return os.fork()
    except OSError as error:
        raise SandrunError(f"cannot start a process: {libc.strerror(error.errno or 0)}") from None


def _wait_for_execve(plan: Plan, pid: int, reader: int, answer: int = -1, first: bytes | None = None) -> _Started:
    """As `_start`, of the child `pid`. If the command is never executed, all is reaped and the reason raised.

    `answer` is where a child is answered that asks for ids, `first` what a native one has told so far.
    """
    init, pidfd, record = 0, -1, b""
    is_own = first is None  # else it was executed itself, and is never the process of the command
    try:
        heard = os.read(reader, steps.RECORD.size) if first is None else first
        while heard:
            index, _, started = steps.RECORD.unpack(heard)
            if index == steps.INIT:
                init = started
            elif index == steps.IDS:
                _answer(plan, pid, answer)
            elif index == steps.COMMAND:
                os.waitpid(pid, 0)  # the maker, which has no more to say
                pid, is_own = started, True
            else:
                record = record or heard
            heard = os.read(reader, steps.RECORD.size)
        pidfd = os.pidfd_open(pid)
        if is_own and not record and _has_executed(pid):
            return pid, pidfd, (init, os.pidfd_open(init)) if init else None
    except OSError as error:
        _reap(pid, pidfd, init)
        raise SandrunError(f"cannot watch the child: {libc.strerror(error.errno or 0)}") from None
    except SandrunError:
        _reap(pid, pidfd, init)
        raise
    end = _reap(pid, pidfd, init)
    from sandrun import failure  # noqa: PLC0415 (of a launch that failed, by the parent alone)

    if not record:
        raise failure.died(plan, end)
    index, number, argument = steps.RECORD.unpack(record)
    if index == len(steps.CHILD_STEPS) - 1 and number > 0:
        raise failure.cannot_execute(plan, number)
    raise failure.step_failed(plan, steps.CHILD_STEPS[index][0], number, argument)


def _answer(plan: Plan, pid: int, writer: int) -> None:
    from sandrun.primitives import id_maps  # noqa: PLC0415 (the steps of this plan imported it before the fork)

    id_maps.answer(plan, pid, writer)


def _has_executed(pid: int) -> bool:
    """Whether this child, whose error pipe is closed, got past execve.

    A closed pipe alone does not tell: a filter that kills execve closes it as well. The kernel clears its own mark
    before it closes the pipe. A /proc that hides the process from us (hidepid) shows it again once it runs as our user.
    """
    try:
        return tree.has_executed(pid)
    except FileNotFoundError:
        return False


def _reap(pid: int, pidfd: int, init: int) -> tuple[int, int]:
    """End a child that did not get to run the command. Returns waitid(2)'s code and status of how it ended.

    Without SIGKILL a child that still lives could hold us here for ever; one that is a zombie does not feel it.
    """
    os.kill(pid, libc.SIGKILL)
    end = os.waitid(os.P_PID, pid, os.WEXITED)
    if init:
        os.kill(init, libc.SIGKILL)
        # It ends after all others in its namespace: also after one that the maker started and died before telling of.
        while os.waitpid(-1, 0)[0] != init:
            pass
    if pidfd >= 0:
        os.close(pidfd)
    return (end.si_code, end.si_status) if end else (0, 0)
