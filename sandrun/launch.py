"""launch: execute a Plan in a child process, or tell which step failed.

LIGHT. The parent half prepares everything, so that each step of the child is one or two calls on buffers that exist;
after `fork` nothing is imported, formatted or logged. The child ends in `execve` or `_exit`. Here is the only place
that knows the order of the steps.

In a pid namespace there are three processes besides the parent. The first, the maker, makes the namespaces; it starts
the init process, which is the namespace's first and must outlive the command, and then the one that walks the other
steps and executes the command; and it ends. CLONE_PARENT makes both of them direct children of the parent, so it waits
for the command, stops it and sees its end as it does without namespaces.
"""

from __future__ import annotations

import errno
import os
import select
import struct

from sandrun import failure, libc, places
from sandrun.errors import EXIT_SANDRUN, SandrunError
from sandrun.plan.format import KEEP, NICE_KEEP
from sandrun.primitives import caps, cgroup, fds, ids, label, landlock, namespaces, rlimits, tree, view

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import NoReturn, Protocol

    from sandrun.plan.format import Plan

    _Started = tuple[int, int, tuple[int, int] | None]

    class Watch(Protocol):
        """What the supervisor decided before the launch."""

        new_session: bool
        """The command gets a session of its own (setsid(2)), without a terminal."""
        own_group: bool
        """The command gets a process group of its own."""
        foreground: bool
        """That group becomes the foreground group of `terminal`, the controlling terminal."""
        terminal: int
        ignored: int
        """Mask of the signals that the command goes on ignoring, as the caller does."""
        held: int
        """A descriptor that the init process keeps open, or -1."""
        group: cgroup.Group | None
        """The control group that the command enters."""


_RECORD = struct.Struct("=iii")
"""From a child that failed: the index in CHILD_STEPS, errno, and the argument it worked on.

errno 0: the kernel said yes and holds something else than was asked for. -1: no system call failed, a bug.
From the maker: _INIT and _COMMAND in the place of the index, and the process id of what it started.
"""
_INIT, _COMMAND = -1, -2


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


class _Job:
    """What the child works with. Nothing changes but `argument`: the number that a failing step reports.

    `supervisor` is a pidfd of the parent, `awaited` the end of a pipe that the init process closes when it is confined.
    """

    __slots__ = (
        "argument",
        "awaited",
        "caps",
        "close",
        "error_fd",
        "execve",
        "filters",
        "init",
        "labels",
        "limits",
        "plan",
        "ruleset_fd",
        "supervisor",
        "view",
        "watch",
    )

    def __init__(
        self,
        plan: Plan,
        watch: Watch,
        environment: list[bytes],
        private: tuple[bytes, ...],
        made: view.View | None,
        opened: list[int],
    ) -> None:
        """`opened` holds the two ends of the error pipe, and gets what is opened here."""
        self.argument = 0
        self.plan = plan
        self.watch = watch
        self.error_fd = opened[1]
        opened.append(os.pidfd_open(os.getpid()))
        self.supervisor = opened[-1]
        self.ruleset_fd = landlock.create(plan, private)
        opened += (self.ruleset_fd,) if self.ruleset_fd >= 0 else ()
        self.labels = label.Labels(plan)
        opened += self.labels.descriptors
        kept = opened[1:]
        self.init = None
        if plan.namespaces & libc.CLONE_NEWPID:
            self.init = namespaces.Init()
            opened += self.init.descriptors
            kept.append(self.init.reader)
        self.close = fds.gaps((0, 1, 2, *plan.pass_fds, *kept))
        self.caps = caps.Prepared(plan)
        self.limits = rlimits.prepare(plan)
        self.filters = tuple(libc.SockFprog(program) for program in plan.seccomp)
        self.execve = libc.Execve(plan.executable, plan.argv, environment)
        self.view = made


# --- the steps of the child ------------------------------------------------------------------------------------------


def _control_group(job: _Job) -> None:
    for fd in job.watch.group.joins if job.watch.group else ():
        cgroup.join(fd)


def _namespaces(job: _Job) -> None:
    if job.plan.namespaces:
        libc.unshare(job.plan.namespaces)
        if job.plan.uid_map:
            namespaces.map_ids(job.plan.uid_map, job.plan.gid_map)


def _enter(job: _Job) -> None:
    """The maker starts what lives in the namespaces and ends; only the process of the command returns."""
    if not job.plan.namespaces & namespaces.FORKING:
        return
    if job.init:
        pid = libc.clone(libc.CLONE_PARENT | libc.SIGCHLD)
        if not pid:
            _be_init(job, job.init)
        os.write(job.error_fd, _RECORD.pack(_INIT, 0, pid))
        os.close(job.init.writer)
    pid = libc.clone(libc.CLONE_PARENT | libc.SIGCHLD)
    if pid:
        os.write(job.error_fd, _RECORD.pack(_COMMAND, 0, pid))
        os._exit(0)


def _be_init(job: _Job, init: namespaces.Init) -> NoReturn:
    """What the command could get at in its namespace, so no less confined than it: the same ids and capabilities."""
    os.chdir("/")
    _signals(job)
    libc.rt_sigaction(libc.SIGCHLD, libc.SIGACTION_IGNORE)
    for step in (_bounding_set, _groups, _gid, _uid, _capabilities, _verify):
        step(job)
    libc.prctl(libc.PR_SET_DUMPABLE, 0)
    _parent_death(job)
    init.sleep(job.watch.held)


def _open_labels(job: _Job) -> None:
    job.labels.open(detached=bool(job.plan.namespaces & libc.CLONE_NEWNS))


def _view(job: _Job) -> None:
    if job.view:
        try:
            job.view.make()
        finally:
            job.argument = job.view.at
        if job.ruleset_fd >= 0:
            view.grant(job.ruleset_fd, job.plan.view_rules)
    elif job.plan.namespaces & libc.CLONE_NEWNS:
        namespaces.keep_mounts()
        if job.plan.namespaces & libc.CLONE_NEWPID:
            namespaces.mount_proc()


def _hostname(job: _Job) -> None:
    if job.plan.hostname:
        libc.sethostname(job.plan.hostname)


def _loopback(job: _Job) -> None:
    if job.plan.loopback:
        namespaces.set_up_loopback()


def _terminal(job: _Job) -> None:
    if job.watch.new_session:
        os.setsid()
    elif job.watch.own_group:
        os.setpgid(0, 0)
        if job.watch.foreground:
            os.tcsetpgrp(job.watch.terminal, os.getpid())


def _descriptors(job: _Job) -> None:
    fds.close(job.close)


def _signals(job: _Job) -> None:
    for signal in range(1, libc.NSIG + 1):
        if signal not in (libc.SIGKILL, libc.SIGSTOP) and not job.watch.ignored & libc.signal_bit(signal):
            job.argument = signal
            libc.rt_sigaction(signal, libc.SIGACTION_DEFAULT)
    libc.rt_sigprocmask(libc.SIG_SETMASK, 0)


def _umask_and_nice(job: _Job) -> None:
    if job.plan.umask != KEEP:
        os.umask(job.plan.umask)
    if job.plan.nice != NICE_KEEP:
        os.setpriority(os.PRIO_PROCESS, 0, job.plan.nice)


def _bounding_set(job: _Job) -> None:
    for number in job.caps.drop:
        job.argument = number
        caps.drop_bounding(number)


def _groups(job: _Job) -> None:
    ids.set_groups(job.plan)


def _gid(job: _Job) -> None:
    ids.set_gid(job.plan)


def _uid(job: _Job) -> None:
    if job.caps.keepcaps:
        caps.set_attribute(libc.PR_SET_KEEPCAPS, 1)
    ids.set_uid(job.plan)


def _capabilities(job: _Job) -> None:
    caps.apply(job.caps)


def _verify(job: _Job) -> None:
    caps.verify(job.caps)
    ids.verify(job.plan)


def _cwd(job: _Job) -> None:
    if job.plan.cwd:
        os.chdir(job.plan.cwd)


def _parent_death(job: _Job) -> None:
    caps.set_attribute(libc.PR_SET_PDEATHSIG, libc.SIGKILL)
    poll = select.poll()
    poll.register(job.supervisor, select.POLLIN)
    if poll.poll(0):
        raise ProcessLookupError(errno.ESRCH, "the supervisor is gone")


def _await_init(job: _Job) -> None:
    if job.init and not os.read(job.init.reader, 1):
        raise ChildProcessError(errno.ECHILD, "the init process died")


def _limits(job: _Job) -> None:
    for limit in job.limits:
        job.argument = limit[0]
        rlimits.set_limit(limit)


def _set_labels(job: _Job) -> None:
    job.labels.set()


def _no_new_privs(job: _Job) -> None:
    if job.plan.no_new_privs:
        caps.set_attribute(libc.PR_SET_NO_NEW_PRIVS, 1)


def _landlock(job: _Job) -> None:
    if job.ruleset_fd >= 0:
        landlock.restrict_self(job.ruleset_fd, job.plan.landlock_flags)


def _seccomp(job: _Job) -> None:
    for number, program in enumerate(job.filters):
        job.argument = number
        libc.seccomp(libc.SECCOMP_SET_MODE_FILTER, job.plan.seccomp_flags, program)


def _execve(job: _Job) -> None:
    job.execve()


CHILD_STEPS = (
    # First of all, so that everything below is counted; in a new cgroup namespace this group is the root.
    ("join the control group", _control_group),
    # Before what happens inside; the user namespace gives the right to make the others.
    ("make namespaces", _namespaces),
    # A pid or time namespace is entered by children only.
    ("start the init process", _enter),
    # By the process that will execute the command, while /proc is the host's.
    ("open the security label", _open_labels),
    # While everything of the host can be reached, and with the capabilities that are lost below.
    ("make the view", _view),
    ("set the host name", _hostname),
    ("set up the loopback interface", _loopback),
    # While signals are blocked: a group in the background is stopped for taking the terminal.
    ("set up the terminal", _terminal),
    # Early, so that nothing below can act on a descriptor of the caller. Passed ones and our error pipe stay.
    ("close file descriptors", _descriptors),
    # Dispositions before the mask: what arrived while it was blocked must meet the default, not Python's handler.
    # Python leaves SIGPIPE and SIGXFSZ ignored, and the caller may have left SIGCHLD so.
    ("reset signals", _signals),
    # A nice value below the inherited one takes a capability, so before they go.
    ("set umask and nice value", _umask_and_nice),
    # Takes CAP_SETPCAP, which the change of uid takes away.
    ("drop the bounding set", _bounding_set),
    # Groups, gid, uid: each needs a capability that is lost with the uid.
    ("set groups", _groups),
    ("set gid", _gid),
    ("set uid", _uid),
    # After the uid, whose change clears the ambient set; with the securebits, since one of them forbids to raise it.
    ("set capabilities", _capabilities),
    ("verify ids and capabilities", _verify),
    # As the command's user and without its lost capabilities: before, root could put the command into a directory
    # that its user may not reach, and everything below it would be open by relative paths.
    ("enter the working directory", _cwd),
    # A change of credentials clears it (prctl(2)), so after them all; then see whether the parent died before it held.
    # In a pid namespace getppid(2) does not tell, so its pidfd is asked.
    ("die with the supervisor", _parent_death),
    # Before anything of the command runs: the init process must be out of its reach by then.
    ("wait for the init process", _await_init),
    # Late, since NOFILE and AS would hit the steps above; after the uid, since a low NPROC makes setuid count.
    ("set resource limits", _limits),
    # It holds from execve on, but with no_new_privs AppArmor would take a mere narrowing only.
    ("set the security label", _set_labels),
    # Landlock and seccomp need it, or CAP_SYS_ADMIN.
    ("set no_new_privs", _no_new_privs),
    # As late as possible: the working directory above may be one that the ruleset does not grant.
    ("enter the Landlock ruleset", _landlock),
    # Last, so that the filter need not allow anything above: only execve, write and exit_group.
    ("load the seccomp filter", _seccomp),
    ("execute", _execve),
)


def _child(job: _Job) -> NoReturn:
    """Walk the steps. Whatever happens, this process never returns into the parent's code."""
    index, number = 0, -1
    try:
        for index, (_, step) in enumerate(CHILD_STEPS):  # noqa: B007  the index is for the record below
            job.argument = 0
            step(job)
    except OSError as error:
        number = -1 if error.errno is None else error.errno
    finally:
        try:
            os.write(job.error_fd, _RECORD.pack(index, number, job.argument))
        finally:
            os._exit(EXIT_SANDRUN)


# --- the parent ------------------------------------------------------------------------------------------------------


def launch(
    plan: Plan, values: Mapping[bytes, bytes], watch: Watch, overlays: Sequence[tuple[bytes, bytes]] = ()
) -> Child:
    """Start the plan's command. On return it has been executed: its first instruction may have run.

    `values` are the values of `plan.env_set`, `overlays` the (upper, work) directories of its overlays. Expects what `supervise.prepare` sets up: descriptors 0 to 2 open,
    signals blocked, SIGCHLD not ignored. Raises CommandError if the command cannot be executed, StepError if the child
    failed before, SandrunError if the parent could not prepare; no process is left then, and no private directory.
    """
    _check(plan)
    places.create_targets(plan)
    private = places.make_private(plan)
    try:
        environment = environment_vector(plan, values, private)
        made = view.View(plan, private, overlays) if plan.view else None
        pid, pidfd, init = _start(plan, watch, environment, private, made)
        if watch.group:
            watch.group.settle()
    except BaseException:
        if watch.group:
            watch.group.remove()
        places.remove_private(private)
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


def _check(plan: Plan) -> None:
    """What the caller got wrong, before anything is made."""
    try:
        threads = len(os.listdir("/proc/self/task"))
    except OSError as error:
        raise SandrunError(
            f"cannot launch: /proc/self/task: {libc.strerror(error.errno or 0)}", hint="sandrun needs a mounted /proc"
        ) from None
    if threads != 1:
        raise SandrunError(f"cannot launch: this process has {threads} threads, and only the calling one would fork")
    fds.check(plan.pass_fds)
    ids.check(plan)


def _start(
    plan: Plan, watch: Watch, environment: list[bytes], private: tuple[bytes, ...], made: view.View | None
) -> _Started:
    """Fork and wait until the command runs: its pid and pidfd, and those of the init process."""
    opened = list(os.pipe2(os.O_CLOEXEC))
    try:
        job = _Job(plan, watch, environment, private, made, opened)
        pid = _fork()
        if not pid:
            _child(job)
        reader = opened[0]
        while len(opened) > 1:
            os.close(opened.pop())
        return _wait_for_execve(plan, pid, reader)
    finally:
        for fd in opened:
            os.close(fd)


def _fork() -> int:
    try:
        return os.fork()
    except OSError as error:
        raise SandrunError(f"cannot start a process: {libc.strerror(error.errno or 0)}") from None


def _wait_for_execve(plan: Plan, pid: int, reader: int) -> _Started:
    """As `_start`, of the child `pid`. If the command is never executed, all is reaped and the reason raised."""
    init, pidfd, record = 0, -1, b""
    try:
        while heard := os.read(reader, _RECORD.size):
            index, _, started = _RECORD.unpack(heard)
            if index == _INIT:
                init = started
            elif index == _COMMAND:
                os.waitpid(pid, 0)  # the maker, which has no more to say
                pid = started
            else:
                record = record or heard
        pidfd = os.pidfd_open(pid)
        if not record and _has_executed(pid):
            return pid, pidfd, (init, os.pidfd_open(init)) if init else None
    except OSError as error:
        _reap(pid, pidfd, init)
        raise SandrunError(f"cannot watch the child: {libc.strerror(error.errno or 0)}") from None
    end = _reap(pid, pidfd, init)
    if not record:
        raise failure.died(plan, end)
    index, number, argument = _RECORD.unpack(record)
    if index == len(CHILD_STEPS) - 1 and number > 0:
        raise failure.cannot_execute(plan, number)
    raise failure.step_failed(plan, CHILD_STEPS[index][0], number, argument)


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
