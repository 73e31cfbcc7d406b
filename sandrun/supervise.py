"""supervise: stand between the caller and the command until nothing of the command is left.

LIGHT. It begins where `watch.begin` and the launch have ended: all signals are blocked and read from one signalfd, which
also tells who sent them; nothing runs while nothing happens.

How far the end of the tree is promised: when `supervise` returns, every process that the command started is gone, or is
named in `Outcome.survivors`. If the supervisor itself gets SIGKILL, the kernel kills the command with it (PDEATHSIG). What
the command started then ends with the init process of its pid namespace, or by the guardian of its control group; without
either nobody is left to kill it.
"""

from __future__ import annotations

import os
import resource
import select
import time

from sandrun import libc
from sandrun.primitives import private, tree, tty

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sandrun.launch import Child
    from sandrun.plan.format import Plan
    from sandrun.primitives.cgroup import Events
    from sandrun.relaying import Relay
    from sandrun.watch import Watch

FORWARDED = (
    libc.SIGHUP,
    libc.SIGINT,
    libc.SIGQUIT,
    libc.SIGUSR1,
    libc.SIGUSR2,
    libc.SIGTERM,
    libc.SIGCONT,
    libc.SIGTSTP,
    libc.SIGWINCH,
)
_LONGEST_POLL_MS = 2**31 - 1
_LOOK_MS = 20
_SWEEP_MS = 500
"""How long a worker of the broker may go on for a caller that has given up."""
_KIB = 1024


class Outcome:
    """How the command ended. Times are seconds, `max_rss` is bytes.

    `status` is its exit status if `signal` is 0. `user` and `system` are the processor time of the whole tree;
    `max_rss` is the peak of the largest single process (getrusage(2)), never below the launcher's own at the fork.
    `killed` counts the processes that the command left behind; `survivors` are ids that would not die of SIGKILL, and
    `left` the private directories and control groups that could not be removed, with the reason. `resources` are the
    counters of the control group, None if there was none. `network` is the record of the relay (`traffic.read`), None if
    there was no relay.
    """

    __slots__ = (
        "killed",
        "left",
        "max_rss",
        "network",
        "resources",
        "signal",
        "started",
        "status",
        "survivors",
        "system",
        "timed_out",
        "user",
        "wall",
    )

    def __init__(self, **fields: object) -> None:
        for name in self.__slots__:
            setattr(self, name, fields[name])

    if TYPE_CHECKING:
        killed: int
        left: tuple[tuple[bytes, int], ...]
        max_rss: int
        network: bytes | None
        resources: Events | None
        signal: int
        started: bool
        status: int
        survivors: tuple[int, ...]
        system: float
        timed_out: bool
        user: float
        wall: float


def supervise(child: Child, watch: Watch, plan: Plan) -> Outcome:
    """Wait for the command, pass signals on, keep its time, and clear away all it leaves."""
    run = _Run(child, watch, plan)
    try:
        _let_go((0, 1, *plan.pass_fds), watch)
        run.until_the_end()
    finally:
        if not run.gone:
            run.kill_group()
        if watch.group:
            if not child.init:
                watch.group.kill()
            watch.group.dismiss()  # the guardian would be found as one of ours
        run.take_down_times()
        network = watch.broker.end() if watch.broker else None  # its workers are no processes of the command's
        killed, init = 0, child.init
        if watch.relay:
            if init:
                # First the command's processes: then all that they sent is there to be passed on.
                killed, init = tree.end_namespace(*init, tree.KILL_SECONDS, watch.relay.pid), None
            network = run.end_relay(watch.relay)  # before the look for processes, which would find it
        more, survivors = tree.kill_tree(tree.KILL_SECONDS, watch.signal_fd, scoped=watch.scoped, init=init)
        killed += more
    if not run.gone:
        run.status, run.ended, killed = libc.SIGKILL, time.monotonic(), max(0, killed - 1)
    left = tuple((path, number) for path in child.private if (number := private.remove(path)))
    events = watch.group.events() if watch.group else None
    left += watch.group.remove() if watch.group else ()
    tty.give_back(watch.terminal)
    for fd in (2, watch.terminal):
        tty.resume_output(fd)
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Outcome(
        started=True,
        status=os.WEXITSTATUS(run.status) if os.WIFEXITED(run.status) else 0,
        signal=os.WTERMSIG(run.status) if os.WIFSIGNALED(run.status) else 0,
        timed_out=run.timed_out,
        wall=run.ended - run.began,
        user=max(now.ru_utime - run.relay[0], run.user) - watch.cpu.ru_utime,
        system=max(now.ru_stime - run.relay[1], run.system) - watch.cpu.ru_stime,
        max_rss=now.ru_maxrss * _KIB,
        resources=events,
        network=network,
        killed=killed,
        survivors=survivors,
        left=left,
    )


def _let_go(fds: tuple[int, ...], watch: Watch) -> None:
    """Put /dev/null in the place of our copies of what the command got.

    Whoever is at the other end of a pipe waits until its last copy is closed, and that is to be the command's.
    Descriptor 2 stays for messages.
    """
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    for fd in fds:
        if fd not in (2, watch.terminal):
            os.dup2(null, fd, inheritable=False)
    os.close(null)


class _Run:
    """The state of one `supervise` call: what was seen of the command, and the deadline that counts now."""

    __slots__ = (
        "began",
        "child",
        "deadline",
        "ended",
        "foreground",
        "gone",
        "grace",
        "relay",
        "status",
        "system",
        "timed_out",
        "user",
        "watch",
    )

    def __init__(self, child: Child, watch: Watch, plan: Plan) -> None:
        self.child, self.watch = child, watch
        self.began = self.ended = time.monotonic()
        self.deadline = self.began + plan.deadline_ms / 1000 if plan.deadline_ms >= 0 else None
        self.grace = max(plan.grace_ms, 0) / 1000
        self.status, self.foreground = 0, child.pid
        self.user = self.system = 0.0
        self.relay = 0.0, 0.0
        self.gone = self.timed_out = False

    def until_the_end(self) -> None:
        """Return when the command has ended; after a timeout, when all have ended or the grace is over."""
        poll = select.poll()
        poll.register(self.watch.signal_fd, select.POLLIN)
        helper = self.watch.broker
        if helper:
            helper.begin()
            poll.register(helper.poll, select.POLLIN)
        self._children()  # it may be over before we look for the first time
        while not self.gone or (self.timed_out and self._any_left()):
            poll.poll(self._wait_ms())
            if helper:
                helper.serve()
            for signal, code, sender in libc.read_signals(self.watch.signal_fd):
                if signal == libc.SIGCHLD:
                    self._children()
                elif signal == libc.SIGALRM:
                    self._end_now()
                elif not self.gone:
                    self._forward(signal, code, sender)
            if self.deadline is not None and time.monotonic() >= self.deadline:
                if self.timed_out:
                    return
                self._time_is_up()

    def _any_left(self) -> bool:
        """Whether anything but the command lives on."""
        any_left = tree.reap()[1]
        if self.child.init:
            return bool(tree.inside(self.child.init[0], self._relay_pid()))
        return tree.has_others(self._relay_pid()) if self.watch.relay else any_left

    def _relay_pid(self) -> int:
        """The id of the relay, 0 if there is none: it is none of the command's, nor what it starts."""
        return self.watch.relay.pid if self.watch.relay else 0

    def _wait_ms(self) -> float | None:
        is_busy = self.watch.broker is not None and self.watch.broker.is_busy()
        if self.deadline is None:
            return _SWEEP_MS if is_busy else None
        # Orphans of a pid namespace end without a signal to us.
        longest = _LOOK_MS if self.gone and self.child.init else _SWEEP_MS if is_busy else _LONGEST_POLL_MS
        return min(max(0.0, self.deadline - time.monotonic()) * 1000, longest)

    def _time_is_up(self) -> None:
        if self.gone:
            return
        self.timed_out = True
        self.deadline = time.monotonic() + self.grace
        self.take_down_times()
        # CONT after TERM: a stopped process must be able to act on it.
        init = self.child.init[0] if self.child.init else 0
        tree.signal_tree(self.watch.scoped, libc.SIGTERM, libc.SIGCONT, init=init)

    def _end_now(self) -> None:
        """The caller wants no more of it: the command dies, and what it started is killed on the way out of here."""
        if not self.gone:
            self._send(libc.SIGKILL)
        if self.timed_out:
            self.deadline = 0  # the grace is over

    def _children(self) -> None:
        """Look at what SIGCHLD announced: the command's stop or end, and orphans to be reaped."""
        pid = self.child.pid
        while not self.gone:
            info = os.waitid(os.P_PID, pid, os.WEXITED | os.WSTOPPED | os.WNOHANG | os.WNOWAIT)
            if info is None:
                break
            if info.si_code == os.CLD_STOPPED:
                os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOHANG)
                self._stop(info.si_status)
                continue
            if info.si_code == os.CLD_TRAPPED:
                # The command made us its tracer (PTRACE_TRACEME): this stop is not its end, and nobody continues it.
                self._send(libc.SIGKILL, group=False)
                os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOHANG)
                continue
            self.gone, self.ended = True, time.monotonic()
            if not self.timed_out:
                self.kill_group()
            self.status = os.waitpid(pid, 0)[1]
        if not self.gone:
            tree.reap(but=pid)

    def take_down_times(self) -> None:
        """Remember the processor time until now, before processes end of which the kernel would not tell us.

        Orphans of a pid namespace are reaped for an init process that waits for nobody, so their times are lost.
        """
        relay = self._relay_pid()
        if self.child.init and (not self.gone or tree.inside(self.child.init[0], relay)):
            counted, living = resource.getrusage(resource.RUSAGE_CHILDREN), tree.times(relay)
            self.user = max(self.user, counted.ru_utime + living[0])
            self.system = max(self.system, counted.ru_stime + living[1])

    def end_relay(self, relay: Relay) -> bytes:
        """End the relay and return its record. Its processor time is not the command's."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        record = relay.end()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.relay = after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime
        return record

    def kill_group(self) -> None:
        """Kill the command's process group, if it has one of its own, in one call that no fork outruns.

        Only before the command is reaped: then its id, which is the group's, may be given to a stranger. A pid
        namespace has no need of it: all die with the init process, and are counted before.
        """
        if self.watch.own_group and not self.child.init:
            self._send(libc.SIGKILL, group=True)

    # --- signals ---

    def _forward(self, signal: int, code: int, sender: int) -> None:
        """Pass one signal on to the command, unless it had it already or nobody meant it for us."""
        watch = self.watch
        if signal not in FORWARDED or code == libc.SI_TIMER or watch.ignored & libc.signal_bit(signal):
            return
        if code == libc.SI_KERNEL and watch.terminal >= 0:
            return  # the terminal sent it to the command as well
        if code == libc.SI_KERNEL or (watch.link and watch.link.was_typed(signal)):
            # The terminal means all that run in it, and programs like make count on that.
            self._send(signal, group=True)
            return
        if not watch.own_group and sender == self.child.pid:
            return  # the command signalled its whole group, which is ours
        if signal == libc.SIGCONT:
            if not watch.own_group and not self._is_stopped():
                return  # the shell continued the whole group
            if watch.link and watch.link.has_keyboard():
                tty.set_foreground(watch.terminal, self.foreground)
        self._send(signal, group=signal == libc.SIGCONT and watch.own_group)

    def _send(self, signal: int, *, group: bool = False) -> None:
        try:
            if group:
                os.killpg(self.child.pid, signal)
            else:
                libc.pidfd_send_signal(self.child.pidfd, signal)
        except (ProcessLookupError, PermissionError):
            return  # it ended, or took another user's id; its end is seen by SIGCHLD

    def _is_stopped(self) -> bool:
        try:
            return tree.is_stopped(self.child.pid)
        except OSError:
            return False

    def _stop(self, signal: int) -> None:
        """The command stopped: stop as well, so that an interactive shell shows the job as stopped.

        If there is a deadline, a timer continues us at its time: being stopped is no way around it.
        """
        if self.timed_out or not self._is_stopped():
            return
        if signal not in (libc.SIGTTIN, libc.SIGTTOU):
            signal = libc.SIGTSTP
        timer = -1
        if self.deadline is not None:
            timer = libc.timer_create(libc.SIGCONT)
            libc.timer_settime(timer, max(0.001, self.deadline - time.monotonic()))
        if self.watch.link:
            # The keyboard goes back with the terminal: should the command be continued in the background, the kernel
            # stops it again for reading. By which group it had, `fg` gives it back.
            ours = os.getpgrp()
            before = tty.set_foreground(self.watch.terminal, ours)
            self.foreground = before if before not in (0, ours) else self.foreground
            self.watch.link.stop(signal)
        else:
            tree.stop_here(signal)
        if timer >= 0:
            libc.timer_delete(timer)
