"""The supervisor of a group: it starts the commands once all are confined, watches them, and stops them in order.

It never reads what a command wrote: outputs go to the log process, readiness is seen by looking.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import time
from typing import TYPE_CHECKING

from sandrun import libc, report
from sandrun.errors import EXIT_LATER_CHECK, EXIT_SANDRUN, EXIT_TIMEOUT, SandrunError
from sandrun.group import member, wiring
from sandrun.group.member import ALIVE, ENDED, HELD, RUNNING, STARTING, STOPPING, WAITING, Member
from sandrun.group.model import FIRST_FAILURE
from sandrun.group.order import last

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import FrameType

    from sandrun.group.model import Group

ASKED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
LOOK_SECONDS = 0.05
"""Between two looks whether a port or a file is there."""
LOG_SECONDS = 2.0
STEADY_SECONDS = 60.0
"""One that ran for so long has started well, and its restarts are counted anew."""
LONGEST_DELAY = 30.0


def supervise(group: Group, words: Sequence[str], *, as_json: bool) -> int:
    """Run the group until its end, and return its exit status. `words` execute sandrun. Raises SandrunError."""
    try:
        os.chdir(group.directory)
        ends, logged = wiring.wire(group)
        supervisor = _Supervisor(group, words, ends, as_json=as_json)
        if logged:
            supervisor.log = wiring.start_log(logged)
            # The log process is to end when the group does, not as soon as all have fallen silent.
            first = next(command for command in group.commands if command.name in logged)
            fd = next(fd for fd, kind in first.streams.items() if kind == "log")
            supervisor.keeps_log = member.high(os.dup(ends[first.name][fd]))
        return supervisor.run()
    except OSError as error:
        hint = "allow more of them: ulimit -n 1024" if error.errno == errno.EMFILE else None
        raise SandrunError(f"cannot run the group: {report.reason(error)}", hint=hint) from None


class _Supervisor:
    """The group while it runs."""

    def __init__(
        self, group: Group, words: Sequence[str], ends: Mapping[str, Mapping[int, int]], *, as_json: bool
    ) -> None:
        self.group = group
        self.words = words
        self.as_json = as_json
        self.members = {command.name: Member(command, ends[command.name]) for command in group.commands}
        self.log = self.keeps_log = -1
        self.released = self.stopping = False
        self.result: int | None = None
        self.asked: list[int] = []
        self.wakeup, self.waker = (member.high(fd) for fd in os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC))

    # --- the loop ---

    def run(self) -> int:
        """Start all, and return the exit status when all have ended."""
        # Nobody of the same user is to look into this process, nor to change what it does (ptrace(2)).
        libc.prctl(libc.PR_SET_DUMPABLE, 0)
        signal.set_wakeup_fd(self.waker, warn_on_full_buffer=False)
        for number in ASKED:
            # What the caller ignores stays so, as for a launch: nohup(1), or a shell's job in the background.
            if number == signal.SIGTERM or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._take)
        for one in self.members.values():
            self._start(one)
        while any(one.state != ENDED for one in self.members.values()):
            self._advance()
            self._wait()
        for one in self.members.values():
            one.let_go_of_ends()
        self._end_log()
        status = self._status()
        self.tell("finished", status=status)
        return status

    def _take(self, number: int, _frame: FrameType | None) -> None:
        self.asked.append(number)

    def _wait(self) -> None:
        """Wait for the next thing to happen, and do what it takes."""
        happens: dict[int, Callable[[], object]] = {self.wakeup: self._wake}
        if self.log >= 0:
            happens[self.log] = self._log_ended
        for one in self.members.values():
            if one.state in ALIVE:
                happens[one.pidfd] = lambda one=one: self._ended(one)  # type: ignore[misc]  # bound in the loop
                if one.events >= 0:
                    happens[one.events] = lambda one=one: self._heard(one)  # type: ignore[misc]
                if one.state == STARTING and one.confined >= 0:
                    happens[one.confined] = lambda one=one: self._confined(one)  # type: ignore[misc]
                if one.state == RUNNING and one.told >= 0 and not one.is_up:
                    happens[one.told] = lambda one=one: self._look(one)  # type: ignore[misc]
        poll = select.poll()
        for fd in happens:
            poll.register(fd, select.POLLIN)
        for fd, _ in poll.poll(self._milliseconds()):
            happens[fd]()
        while self.asked:
            self._was_asked(self.asked.pop(0))
        self._keep_time()

    def _milliseconds(self) -> int | None:
        now = time.monotonic()
        waits = [one.deadline - now for one in self.members.values() if one.deadline is not None]
        if any(self._is_looked_at(one) for one in self.members.values()):
            waits.append(LOOK_SECONDS)
        return max(0, int(min(waits) * 1000) + 1) if waits else None

    @staticmethod
    def _is_looked_at(one: Member) -> bool:
        return one.state == RUNNING and not one.is_up and one.command.ready.kind in ("tcp", "file")

    def _wake(self) -> None:
        os.read(self.wakeup, 1 << 10)

    def _keep_time(self) -> None:
        now = time.monotonic()
        for one in self.members.values():
            if self._is_looked_at(one):
                self._look(one)
            if one.deadline is None or now < one.deadline:
                continue
            if one.state == WAITING:
                self._start(one)
            elif one.state == STOPPING:
                one.force()
            elif one.state == RUNNING:
                one.deadline = None
                self._shut_down(f"{one.name} is not ready after {one.command.ready.seconds:g} s", EXIT_TIMEOUT)

    # --- one command ---

    def _start(self, one: Member) -> None:
        one.start(self.words)
        self.tell("starting", one.name)

    def _confined(self, one: Member) -> None:
        if one.state != STARTING:
            return
        if os.read(one.confined, 1):
            one.state = HELD
            self.tell("confined", one.name)
        else:  # the launch has failed, as its end will tell
            os.close(one.confined)
            one.confined = -1

    def _heard(self, one: Member) -> None:
        if one.has_events() and one.hear():
            self.tell("started", one.name)
            self._look(one)
        if one.failure and one.command.streams.get(2) != "log":
            for line in one.failure:
                self.say(f"{one.name}: {line}")
        one.failure = ()

    def _look(self, one: Member) -> None:
        """See whether it is ready, if it has still to be."""
        if one.state == RUNNING and not one.is_up and one.is_ready():
            one.is_up, one.been_ready, one.deadline = True, True, None
            self.tell("ready", one.name)

    def _ended(self, one: Member) -> None:
        was = one.state
        while one.has_events():
            self._heard(one)
        self._look(one)
        one.reap()
        self.tell("ended", one.name, status=one.status)
        if one.command.ready.kind == "exit" and not one.status and was == RUNNING:
            one.been_ready = True
            self.tell("ready", one.name)
        if was == STOPPING or self.stopping:
            self._is_over(one)
        elif one.status and self._may_restart(one):
            self._plan_restart(one)
        else:
            self._is_over(one)
            self._judge(one)

    def _may_restart(self, one: Member) -> bool:
        if time.monotonic() - one.began > STEADY_SECONDS:
            one.restarts = 0
        return one.executed and one.command.restart.on_failure and one.restarts < one.command.restart.most

    def _plan_restart(self, one: Member) -> None:
        restart = one.command.restart
        delay = min(restart.delay * 2**one.restarts, LONGEST_DELAY)
        one.restarts += 1
        one.state, one.deadline = WAITING, time.monotonic() + delay
        count = f"{one.restarts} of {restart.most}"
        self.say(f"{one.name} ended with status {one.status}: it starts again in {delay:g} s ({count})")
        self.tell("restarting", one.name, seconds=delay, restarts=one.restarts)

    def _is_over(self, one: Member) -> None:
        one.state = ENDED
        one.let_go_of_ends()

    def _judge(self, one: Member) -> None:
        """What the end of a command means for the others."""
        if one.name == self.group.status or (one.status and (one.command.required or not one.executed)):
            self._shut_down(f"{one.name} ended with status {one.status}", one.status)
        elif not one.been_ready and any(one.name in other.command.after for other in self.members.values()):
            self._shut_down(f"{one.name} ended before it was ready", one.status or EXIT_LATER_CHECK)

    # --- the group ---

    def _advance(self) -> None:
        """Let go of what may start, or stop what may be stopped."""
        members = self.members.values()
        if self.stopping:
            alive = [one.name for one in members if one.state in ALIVE]
            for name in last(alive, self.group.commands):
                if self.members[name].state != STOPPING:
                    self.tell("stopping", name)
                    self.members[name].stop()
            return
        if not self.released and all(one.state == HELD for one in members):
            self.released = True
        for one in members if self.released else ():
            if one.state == HELD and all(self.members[name].been_ready for name in one.command.after):
                one.release()

    def _was_asked(self, number: int) -> None:
        if self.stopping:
            for one in self.members.values():
                if one.state in ALIVE:
                    one.state = STOPPING
                    one.force()
        else:
            self._shut_down(f"asked to by {signal.Signals(number).name}", 128 + number)

    def _shut_down(self, why: str, status: int) -> None:
        """Begin to stop the group, unless that has begun: what was first is the reason."""
        if self.stopping:
            return
        self.stopping, self.result = True, status
        for one in self.members.values():
            if one.state == WAITING:
                one.deadline = None
                self._is_over(one)
        if any(one.state != ENDED for one in self.members.values()):
            self.say(f"{why}: stopping the group")

    def _status(self) -> int:
        if self.group.status != FIRST_FAILURE:
            chosen = self.members[self.group.status]
            # One that never started, or was stopped, has no status that is its own.
            return self.result if self.stopping and self.result else chosen.status
        return self.result or 0

    def _log_ended(self) -> None:
        """Without the log process the outputs go nowhere, and writing to them kills."""
        os.waitid(os.P_PIDFD, self.log, os.WEXITED)
        os.close(self.log)
        self.log = -1
        self._shut_down("the log process has ended", EXIT_SANDRUN)

    def _end_log(self) -> None:
        """Wait until the log process has told all: nobody can write any more."""
        if self.log < 0:
            return
        os.close(self.keeps_log)
        poll = select.poll()
        poll.register(self.log, select.POLLIN)
        if not poll.poll(LOG_SECONDS * 1000):
            signal.pidfd_send_signal(self.log, signal.SIGKILL)
        os.waitid(os.P_PIDFD, self.log, os.WEXITED)
        os.close(self.log)

    # --- words ---

    def say(self, line: str) -> None:
        """Tell the caller."""
        report.say([line])

    def tell(self, event: str, name: str = "", **values: object) -> None:
        """Write an event to standard output, if that was asked for."""
        if self.as_json:
            document = {"sandrun": report.SCHEMA, "event": event, **({"command": name} if name else {}), **values}
            try:
                report.emit(report.to_json(document))
            except SandrunError as error:
                self.as_json = False
                report.say(error.lines())
