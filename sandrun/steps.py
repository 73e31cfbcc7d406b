"""steps: what the child of a launch does, from the fork to execve(2).

LIGHT. Each step is one or two calls on buffers that the parent made: nothing is imported, formatted or logged here. The
child ends in `execve` or `_exit`. Here is the only place that knows the order of the steps.

It is long because the steps, their order and the reasons for it must be read, and reviewed, in one place.

In a pid namespace the first child, the maker, makes the namespaces; it starts the init process, which is the
namespace's first and must outlive the command, and then the one that walks the other steps and executes the command;
and it ends. CLONE_PARENT makes both of them direct children of the parent, so it waits for the command, stops it and
sees its end as it does without namespaces.
"""

from __future__ import annotations

import errno
import os
import select
import struct

from sandrun import libc
from sandrun.errors import EXIT_SANDRUN
from sandrun.plan.format import KEEP, NICE_KEEP
from sandrun.primitives import capset, fds, ids, landlock, namespaces, rlimits, view

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn, Protocol

    from sandrun.connector import Broker
    from sandrun.observe.observer import Observer
    from sandrun.plan.format import Plan
    from sandrun.primitives.cgroup import Group
    from sandrun.primitives.id_maps import Asking
    from sandrun.primitives.label import Labels
    from sandrun.relaying import Relay

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
        group: Group | None
        """The control group that the command enters."""
        relay: Relay | None
        """Where the sockets of the network namespace are handed over."""
        broker: Broker | Observer | None
        """Where the listener of the first filter is handed over."""


RECORD = struct.Struct("=iii")
"""From a child that failed: the index in CHILD_STEPS, errno, and the argument it worked on.

errno 0: the kernel said yes and holds something else than was asked for. -1: no system call failed, a bug.
From the maker: INIT and COMMAND in the place of the index, and the process id of what it started; IDS when it waits for
the parent to map the ids of its user namespace. From the native program (`native.child`) as its first and only word
NOT_SERVED: nothing has been done, and the steps are to be taken here.
"""
INIT, COMMAND, IDS, NOT_SERVED = -1, -2, -3, -4
_WAIT_KILLABLE_FLAG = 1 << 5
"""seccomp(2): once a call is received, only what kills its caller interrupts it; Linux 5.19."""


class Job:
    """What the child works with. Nothing changes but `at` and `argument`: the step, and the number that it reports.

    `supervisor` is a pidfd of the parent, `awaited` the end of a pipe that the init process closes when it is confined.
    """

    __slots__ = (
        "argument",
        "asking",
        "at",
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
        "shown",
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
        """`opened` holds the two ends of the error pipe, and gets what is opened here.

        Without a pipe there is no supervisor either: this process is to become the command.
        """
        self.at = self.argument = 0
        self.plan = plan
        self.watch = watch
        self.error_fd = self.supervisor = -1
        alone = not opened
        if not alone:
            self.error_fd = opened[1]
            opened.append(os.pidfd_open(os.getpid()))
            self.supervisor = opened[-1]
        self.ruleset_fd = landlock.create(plan, private)
        opened += (self.ruleset_fd,) if self.ruleset_fd >= 0 else ()
        self.labels = _labels(plan) if plan.apparmor or plan.selinux else None
        opened += self.labels.descriptors if self.labels else ()
        kept = opened[0 if alone else 1 :]
        self.init = None
        if plan.namespaces & libc.CLONE_NEWPID:
            self.init = namespaces.Init()
            opened += self.init.descriptors
            kept.append(self.init.reader)
        self.shown = None
        if watch.broker:
            self.shown = libc.SockFprog(plan.observe or plan.broker_filter)
            kept.append(watch.broker.channel)
        self.asking = _asking() if plan.id_helpers else None
        opened += (self.asking.reader, self.asking.writer) if self.asking else ()
        self.close = fds.gaps((0, 1, 2, *plan.pass_fds, *plan.hold, *kept))
        self.caps = capset.Prepared(plan)
        self.limits = rlimits.prepare(plan)
        self.filters = tuple(libc.SockFprog(program) for program in plan.seccomp)
        self.execve = libc.Execve(plan.executable, plan.argv, environment)
        self.view = made


def _labels(plan: Plan) -> Labels:
    from sandrun.primitives import label  # noqa: PLC0415 (hardly any plan needs it)

    return label.Labels(plan)


def _asking() -> Asking:
    from sandrun.primitives import id_maps  # noqa: PLC0415 (hardly any plan needs it)

    return id_maps.Asking()


def _control_group(job: Job) -> None:
    if job.watch.group:
        job.watch.group.join()


def _namespaces(job: Job) -> None:
    if job.plan.namespaces:
        libc.unshare(job.plan.namespaces)
        if job.asking:
            job.asking.ask(job.error_fd, RECORD.pack(IDS, 0, 0))
        elif job.plan.uid_map:
            namespaces.map_ids(job.plan.uid_map, job.plan.gid_map)


def _enter(job: Job) -> None:
    """The maker starts what lives in the namespaces and ends; only the process of the command returns."""
    if not job.plan.namespaces & namespaces.FORKING:
        return
    if job.init:
        pid = libc.clone(libc.CLONE_PARENT | libc.SIGCHLD)
        if not pid:
            _be_init(job, job.init)
        os.write(job.error_fd, RECORD.pack(INIT, 0, pid))
        os.close(job.init.writer)
    pid = libc.clone(libc.CLONE_PARENT | libc.SIGCHLD)
    if pid:
        os.write(job.error_fd, RECORD.pack(COMMAND, 0, pid))
        os._exit(0)


def _be_init(job: Job, init: namespaces.Init) -> NoReturn:
    """What the command could get at in its namespace, so no less confined than it: the same ids and capabilities."""
    os.chdir("/")
    _signals(job)
    libc.rt_sigaction(libc.SIGCHLD, libc.SIGACTION_IGNORE)
    for step in (_bounding_set, _groups, _gid, _uid, _capabilities, _verify):
        step(job)
    libc.prctl(libc.PR_SET_DUMPABLE, 0)
    _parent_death(job)
    init.sleep(job.watch.held)


def _open_labels(job: Job) -> None:
    if job.labels:
        job.labels.open(detached=bool(job.plan.namespaces & libc.CLONE_NEWNS))


def _view(job: Job) -> None:
    if job.view:
        try:
            job.view.make()
        finally:
            job.argument = job.view.at
        if job.ruleset_fd >= 0:
            view.grant(job.ruleset_fd, (*job.plan.view_rules, *job.view.private_rules))
    elif job.plan.namespaces & libc.CLONE_NEWNS:
        namespaces.keep_mounts()
        if job.plan.namespaces & libc.CLONE_NEWPID:
            namespaces.mount_proc()


def _hostname(job: Job) -> None:
    if job.plan.hostname:
        libc.sethostname(job.plan.hostname)


def _loopback(job: Job) -> None:
    if job.watch.relay:
        job.watch.relay.furnish(job.plan.egress_listen)
    elif job.plan.loopback:
        namespaces.set_up_loopback()


def _terminal(job: Job) -> None:
    if job.watch.new_session:
        os.setsid()
    elif job.watch.own_group:
        os.setpgid(0, 0)
        if job.watch.foreground:
            os.tcsetpgrp(job.watch.terminal, os.getpid())


def _descriptors(job: Job) -> None:
    fds.close(job.close)


def _signals(job: Job) -> None:
    for signal in range(1, libc.NSIG + 1):
        if signal not in (libc.SIGKILL, libc.SIGSTOP) and not job.watch.ignored & libc.signal_bit(signal):
            job.argument = signal
            libc.rt_sigaction(signal, libc.SIGACTION_DEFAULT)
    libc.rt_sigprocmask(libc.SIG_SETMASK, 0)


def _umask_and_nice(job: Job) -> None:
    if job.plan.umask != KEEP:
        os.umask(job.plan.umask)
    if job.plan.nice != NICE_KEEP:
        os.setpriority(os.PRIO_PROCESS, 0, job.plan.nice)


def _bounding_set(job: Job) -> None:
    for number in job.caps.drop:
        job.argument = number
        capset.drop_bounding(number)


def _groups(job: Job) -> None:
    ids.set_groups(job.plan)


def _gid(job: Job) -> None:
    ids.set_gid(job.plan)


def _uid(job: Job) -> None:
    if job.caps.keepcaps:
        capset.set_attribute(libc.PR_SET_KEEPCAPS, 1)
    ids.set_uid(job.plan)


def _capabilities(job: Job) -> None:
    capset.apply(job.caps)


def _verify(job: Job) -> None:
    capset.verify(job.caps)
    ids.verify(job.plan)


def _cwd(job: Job) -> None:
    if job.plan.cwd:
        os.chdir(job.plan.cwd)


def _parent_death(job: Job) -> None:
    if job.supervisor < 0:
        return
    capset.set_attribute(libc.PR_SET_PDEATHSIG, libc.SIGKILL)
    # Before Linux 6.18 a supervisor that is just ending may have missed this, and not show its end yet. It does both
    # under a lock that this call takes as well: what it answers is of no interest.
    os.getpriority(os.PRIO_PGRP, 0)
    poll = select.poll()
    poll.register(job.supervisor, select.POLLIN)
    if poll.poll(0):
        raise ProcessLookupError(errno.ESRCH, "the supervisor is gone")


def _await_init(job: Job) -> None:
    if job.init and not os.read(job.init.reader, 1):
        raise ChildProcessError(errno.ECHILD, "the init process died")


def _limits(job: Job) -> None:
    for limit in job.limits:
        job.argument = limit[0]
        rlimits.set_limit(limit)


def _set_labels(job: Job) -> None:
    if job.labels:
        job.labels.set()


def _no_new_privs(job: Job) -> None:
    if job.plan.no_new_privs:
        capset.set_attribute(libc.PR_SET_NO_NEW_PRIVS, 1)


def _landlock(job: Job) -> None:
    if job.ruleset_fd >= 0:
        landlock.restrict_self(job.ruleset_fd, job.plan.landlock_flags)


def _hand_over_calls(job: Job) -> None:
    if job.watch.broker and job.shown:
        flags = job.plan.seccomp_flags | libc.SECCOMP_FILTER_FLAG_NEW_LISTENER
        try:
            # An observed call is to return what it would without an observer, and EINTR is nothing that all know.
            killable = _WAIT_KILLABLE_FLAG if job.plan.observe else 0
            listener = libc.seccomp(libc.SECCOMP_SET_MODE_FILTER, flags | killable, job.shown)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            listener = libc.seccomp(libc.SECCOMP_SET_MODE_FILTER, flags, job.shown)
        libc.send_fd(job.watch.broker.channel, b"l", listener)


def _seccomp(job: Job) -> None:
    for number, program in enumerate(job.filters):
        job.argument = number
        libc.seccomp(libc.SECCOMP_SET_MODE_FILTER, job.plan.seccomp_flags, program)


def _hold(job: Job) -> None:
    for fd in job.plan.hold:
        job.argument = fd
        os.write(fd, b"\n")


def _execve(job: Job) -> None:
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
    # Before the other filters, which may refuse what it takes. Both descriptors are closed by execve.
    ("show system calls to the supervisor", _hand_over_calls),
    # Last, so that the filter need not allow anything above: only execve, write and exit_group.
    ("load the seccomp filter", _seccomp),
    # Nothing of the command has run, and all is in force. To wait is to write into a pipe that is full: a filter may
    # refuse to read. If nobody is left to empty it, SIGPIPE ends this process.
    ("wait to be let go", _hold),
    ("execute", _execve),
)


def take(job: Job) -> int:
    """Take the steps in this process. Returns only if one fails, which is `job.at`, with its errno as in RECORD."""
    try:
        for job.at, (_, step) in enumerate(CHILD_STEPS):
            job.argument = 0
            step(job)
    except OSError as error:
        return -1 if error.errno is None else error.errno
    return -1


def walk(job: Job) -> NoReturn:
    """Walk the steps. Whatever happens, this process never returns into the parent's code."""
    number = -1
    try:
        number = take(job)
    finally:
        try:
            os.write(job.error_fd, RECORD.pack(job.at, number, job.argument))
        finally:
            os._exit(EXIT_SANDRUN)
