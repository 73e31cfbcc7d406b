"""watch: make this process the supervisor of a command, before the fork.

LIGHT. From here on all signals are blocked and read from one signalfd. The processes that stand beside the supervisor
are started here as well: the proxy between two terminals, the guardian of a control group, the relay. Their modules
are imported where a plan asks for them, before anything of the command's could change them: most launches need none.
"""

from __future__ import annotations

import errno
import os
import resource

from sandrun import libc
from sandrun.errors import SandrunError
from sandrun.plan.format import CGROUP_NONE, TTY_NEW_SESSION, TTY_PTY
from sandrun.primitives import landlock, tree, tty

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sandrun.connector import Broker
    from sandrun.observe.observer import Observer
    from sandrun.plan.format import Plan
    from sandrun.primitives.cgroup import Group
    from sandrun.proxy import Link
    from sandrun.relaying import Relay

KEPT_IGNORED = (libc.SIGHUP, libc.SIGINT, libc.SIGQUIT)
"""Signals that the command ignores as well if the caller does: nohup(1), and `&` in a shell without job control."""


class Watch:
    """What was decided before the fork, for the child and for `supervise`.

    `new_session`: the child calls setsid(2). `own_group`: it makes itself a process group. `foreground`: and that the
    foreground group of `terminal`, which is the controlling terminal that it shares with us, or -1.
    `ignored`: mask of the signals whose disposition stays "ignore". `link` leads to the proxy, if there is one.
    `group` is the command's control group, if the plan asks for one; a guardian watches over it.
    `held` is a descriptor that the init process of the command's pid namespace keeps open as long as it lives, or -1.
    `relay` serves the command's connections, if the plan asks for one. `broker` is what the command's calls are shown
    to: the broker, which makes its connections, if the plan asks for that, or the caller's observer.
    """

    __slots__ = (
        "broker",
        "cpu",
        "foreground",
        "group",
        "held",
        "ignored",
        "link",
        "new_session",
        "own_group",
        "relay",
        "scoped",
        "signal_fd",
        "terminal",
    )

    def __init__(self, plan: Plan, *, verbose: bool, observer: Observer | None) -> None:
        self.terminal = tty.controlling()
        is_pty = plan.tty == TTY_PTY and self.terminal >= 0
        self.link = _split(self.terminal) if is_pty else None
        self.foreground = self.link is not None and self.link.has_keyboard()
        self.new_session = plan.tty in (TTY_NEW_SESSION, TTY_PTY) and not is_pty
        if self.new_session:
            self.terminal = -1
        # Without a terminal, a signal sent to the caller's whole group must arrive once, by us. With one, the command
        # stays in the group that the shell made, so that pipelines and Ctrl-C work.
        self.own_group = self.terminal < 0 or is_pty
        # After the split, since it lives as long as the supervisor; the guardian before the scope, which would hold it.
        self.group = _make_group(plan) if plan.cgroup_way != CGROUP_NONE else None
        try:
            # Where the group has us step aside, so that it is in nobody's way either.
            self.relay = _start_relay(plan, verbose=verbose) if plan.egress else None
            self.broker = observer or (_start_broker(plan, verbose=verbose) if plan.broker_filter else None)
        except SandrunError:
            if self.group:
                self.group.remove()
            raise
        self.held = -1
        self.ignored = sum(libc.signal_bit(signal) for signal in KEPT_IGNORED if libc.is_ignored(signal))
        scope = landlock.SCOPES["signal"]
        can_scope = bool(plan.landlock_scoped & scope and plan.no_new_privs)
        # A pid namespace dies with its init process, and mounting in it must stay possible.
        self.scoped = (
            can_scope
            and not plan.namespaces & (libc.CLONE_NEWPID | libc.CLONE_NEWNS)
            and tree.scope_signals(refer=bool(plan.landlock_fs))
        )
        self.signal_fd = libc.signalfd4(-1, libc.ALL_SIGNALS, libc.SFD_NONBLOCK | libc.SFD_CLOEXEC)
        self.cpu = resource.getrusage(resource.RUSAGE_CHILDREN)

    def clear(self) -> None:
        """End all that is left of a command that was not launched: nobody can tell for sure that it did not run.

        Its own second execve(2), by a thread, has the mark of the first until it is done, and a descriptor may be lacking.
        """
        tree.kill_tree(tree.KILL_SECONDS, self.signal_fd, scoped=self.scoped)


def begin(plan: Plan, *, verbose: bool = False, observer: Observer | None = None) -> Watch:
    """Make this process a supervisor. Call it once, in a process with one thread, right before `launch`.

    It may be called again after a launch that failed, of a plan without TTY_PTY and control group that has a mount
    namespace: then nothing of the first call stands in the way of the second.

    With TTY_PTY and a terminal, this process splits: the original becomes the proxy between the two terminals and ends
    with the supervisor's exit status, and the supervisor that returns from here is its child.

    `verbose`: what the relay refuses is told on stderr at once. `observer`: of a plan that `observe` made. Raises
    SandrunError. Irreversible: all signals stay blocked, and the process stays non-dumpable.
    """
    _open_standard_descriptors()
    try:
        if os.readlink("/proc/self") != str(os.getpid()):
            raise OSError(errno.ESRCH, "of another pid namespace")
    except OSError as error:
        raise SandrunError(
            f"cannot supervise: /proc: {libc.strerror(error.errno or 0)}", hint="mount proc(5) on /proc"
        ) from None
    # Before anything else exists that could be read: the environment in our memory is not the command's business.
    libc.prctl(libc.PR_SET_DUMPABLE, 0)
    libc.rt_sigprocmask(libc.SIG_SETMASK, libc.ALL_SIGNALS)
    # A caller that ignores SIGCHLD would make the kernel reap the command and throw its status away (wait(2)).
    libc.rt_sigaction(libc.SIGCHLD, libc.SIGACTION_DEFAULT)
    try:
        watch = Watch(plan, verbose=verbose, observer=observer)
    except OSError as error:
        raise SandrunError(f"cannot supervise: {libc.strerror(error.errno or 0)}") from None
    libc.prctl(libc.PR_SET_CHILD_SUBREAPER, 1)
    if plan.hold:
        # Whoever holds several commands together ends them together, also if it is killed.
        libc.prctl(libc.PR_SET_PDEATHSIG, libc.SIGALRM)
    return watch


def _split(terminal: int) -> Link:
    from sandrun import proxy  # noqa: PLC0415 (this plan needs it)

    return proxy.split(terminal)


def _make_group(plan: Plan) -> Group | None:
    from sandrun import guardian  # noqa: PLC0415 (this plan needs it)
    from sandrun.primitives import cgroup  # noqa: PLC0415

    group = cgroup.make(plan)
    if group:
        guardian.guard(group)
    return group


def _start_relay(plan: Plan, *, verbose: bool) -> Relay | None:
    from sandrun import relaying  # noqa: PLC0415 (this plan needs it)

    return relaying.start(plan, verbose=verbose)


def _start_broker(plan: Plan, *, verbose: bool) -> Broker | None:
    from sandrun import connector  # noqa: PLC0415 (this plan needs it)

    return connector.start(plan, verbose=verbose)


def _open_standard_descriptors() -> None:
    """If 0, 1 or 2 is closed, the next open file would get its number and be taken for the command's input or output."""
    while True:
        try:
            fd = os.open("/dev/null", os.O_RDWR)
        except OSError as error:
            raise SandrunError(f"cannot open: /dev/null: {libc.strerror(error.errno or 0)}") from None
        if fd > 2:
            os.close(fd)
            return
        os.set_inheritable(fd, True)
