"""observer: watch the system calls of a command from its supervisor, by seccomp user notification.

It only watches. Each call that it is shown goes on as it would without it, except those that the plan's own filters
refuse, which are refused with their errno. If something of a call cannot be known, the call goes on all the same; if
the observer itself ends, so does the command (`supervise`).
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from sandrun import libc
from sandrun.errors import SandrunError
from sandrun.observe import program, reading
from sandrun.observe.calls import NAMED
from sandrun.observe.events import Event, Record, Seen, Variant
from sandrun.observe.tracee import Tracee
from sandrun.observe.verdicts import Verdicts
from sandrun.plan.format import FIELDS, Plan
from sandrun.policy import syscalls
from sandrun.primitives import notify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sandrun.observe.events import Key

    Tap = Callable[[int, str, tuple[int, ...], Callable[[], Tracee]], None]

MOST_SEEN = 20_000
"""Different events that a record holds."""
MOST_TEXT = 64 * 2**20
"""Characters of paths in them together."""
MOST_VARIANTS = 20_000
MOST_FIRST = 2000
UNKNOWN_NUMBER = 0xFFFFFFFF
"""Stands for numbers of no known call, once there are too many."""
_MOST_TRACEES = 128
_AT_ONCE = 256
"""Calls dealt with before signals and the deadline are looked at again."""
_LINGER_MS = 1
"""The next call comes within microseconds, mostly: a wait in here is cheaper than the way round."""
_NICE = -15
_EXECUTING = frozenset(("execve", "execveat"))
_NO_RANDOM_LAYOUT = 0x0040000
"""ADDR_NO_RANDOMIZE of personality(2)."""
_GONE = (errno.ESRCH, errno.ENOENT)
_LIBRARIES = ("libc.", "libc-", "libpthread", "ld-")


class Job(NamedTuple):
    """What is to be seen: see `observe`."""

    calls: frozenset[str] = NAMED
    also: frozenset[str] = frozenset()
    """Calls that name nothing, of which each is to be an Event all the same."""
    reads: bool = True
    named: frozenset[str] = NAMED
    """Calls whose names are read, if `reads`: each takes a look into the caller."""
    variants: Callable[[int], tuple[int, ...]] | None = None
    but: frozenset[str] = frozenset()
    """If `calls` is every call: those that are not seen all the same, unless the plan refuses them."""


EVERYTHING_NAMED = Job()


def observe(plan: Plan, arch: str, job: Job = EVERYTHING_NAMED) -> tuple[Plan, Observer]:
    """The same plan, observed, and the observer to give to `watch.begin(plan, observer=...)`.

    `job.calls`: names and @sets of the syscalls to see; by default those that name files, sockets and programs
    (`calls.NAMED`; `calls.DOING` does without stat(2) and the like) and `job.also`; `program.EVERY` is every call. Calls
    that the plan's filters refuse are seen in any case. `job.reads`: make an Event of each, else they are only counted.
    `job.variants`: count apart what differs in these arguments of a call, by its number (`Record.variants`).

    Call it right before `watch.begin`. Raises SandrunError (125) if this plan cannot be observed here. That somebody
    else listens already shows when the command is launched: a StepError that says so.
    """
    if plan.broker_filter:
        raise SandrunError(
            "cannot observe: the supervisor makes the connections of this command, and only one can have its calls",
            hint="grant ports instead of addresses: --replace network.connect --connect tcp:443",
        )
    channels = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours, theirs = (channel.detach() for channel in channels)
    try:
        calls = job.calls if job.calls == program.EVERY else job.calls | job.also | _EXECUTING
        code = own_code()
        filter_ = program.merged(plan.seccomp, arch, calls, code, theirs, but=job.but)
    except (ValueError, OSError) as error:
        os.close(ours)
        os.close(theirs)
        why = f"{error.filename}: {libc.strerror(error.errno or 0)}" if isinstance(error, OSError) else error
        raise SandrunError(f"cannot observe: {why}") from None
    fields = {name: getattr(plan, name) for name, _, _ in FIELDS}
    fields.update(observe=filter_, seccomp=tuple(map(program.relaxed, plan.seccomp)))
    return Plan(**fields), Observer((ours, theirs), Verdicts(plan.seccomp, arch), arch, job, code[0][0] if code else 0)


def own_code() -> tuple[tuple[int, int], ...]:
    """The spans of addresses from which this process makes system calls: see `program`. Raises ValueError, OSError."""
    with open("/proc/self/personality", encoding="ascii") as file:
        is_fixed = int(file.read(), 16) & _NO_RANDOM_LAYOUT
    with open("/proc/sys/kernel/randomize_va_space", encoding="ascii") as file:
        is_fixed = is_fixed or not int(file.read())
    if is_fixed:
        raise ValueError("the layout of address spaces is not random (ADDR_NO_RANDOMIZE of personality(2))")
    executable = os.path.basename(os.readlink("/proc/self/exe"))
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as file:
        rows = [row.split(None, 5) for row in file if "x" in row.split(None, 2)[1]]
    mapped = [(os.path.basename(row[5].rstrip("\n")), row[0]) for row in rows if len(row) > 5]
    found = [span for name, span in mapped if name.startswith(_LIBRARIES)]
    found = found or [span for name, span in mapped if name == executable]
    spans = ((int(first, 16), int(end, 16) - 1) for first, _, end in (span.partition("-") for span in found))
    return tuple(spans)


class Observer:
    """Of one run. `watch`, `launch` and `supervise` call all but `record`.

    `channel` is what the child sends the listener over; `place` is an address from which calls are not shown before
    execve(2): a page is free there in a new program. `poll` is readable when there is work to `serve`. `sink`, if
    set, is called with each event as it happens, also with those that repeat others; `peek` is called before its caller
    goes on, perhaps twice for a call that is interrupted. They must neither block nor raise. So must not `tap`, which
    gets every call that is notified before it goes on, also those of which no Event is made, and with it what looks at
    the caller (raises OSError).
    """

    __slots__ = (
        "_arch",
        "_began",
        "_calls",
        "_counts",
        "_first",
        "_gap",
        "_is_over",
        "_job",
        "_listener",
        "_names",
        "_nice",
        "_others",
        "_ours",
        "_seen",
        "_taken",
        "_takes",
        "_text",
        "_tracees",
        "_unread",
        "_verdicts",
        "channel",
        "peek",
        "place",
        "poll",
        "sink",
        "tap",
    )

    def __init__(self, channels: tuple[int, int], verdicts: Verdicts, arch: str, job: Job, place: int = 0) -> None:
        self._ours, self.channel = channels
        self.place = place
        self._verdicts, self._arch, self._job = verdicts, arch, job
        self._names = {number: name for name, number in syscalls.numbers(arch).items()}
        self._listener, self._is_over = -1, False
        self._taken: deque[tuple[int, int, int, tuple[int, ...]]] = deque()
        self._takes = True
        self._nice = os.getpriority(os.PRIO_PROCESS, 0)
        self._began = time.monotonic()
        self._calls = select.poll()
        self._tracees: dict[int, Tracee] = {}
        self._counts: dict[tuple[int, ...], int] = {}
        self._first: dict[int, Event] = {}
        self._seen: dict[Key, Seen] = {}
        self._others = self._unread = self._text = 0
        self._gap = ""
        self.peek: Callable[[Event], None] | None = None
        self.sink: Callable[[Event], None] | None = None
        self.tap: Tap | None = None
        self.poll = select.epoll()

    def handed_over(self) -> None:
        """The child has its copy of the channel: let go of this one."""
        if self.channel >= 0:
            os.close(self.channel)
            self.channel = -1

    def begin(self) -> None:
        """Take the listener, which the child has sent before it executed the command. Raises OSError."""
        self._listener = libc.receive_fd(self._ours)
        notify.wake_at_once(self._listener)
        with suppress(PermissionError):  # see `_take`: the sooner, the fewer are interrupted
            os.setpriority(os.PRIO_PROCESS, 0, min(self._nice, _NICE))
        self._calls.register(self._listener, select.POLLIN)
        self.poll.register(self._listener, select.EPOLLIN)
        self._began = time.monotonic()

    def is_busy(self) -> bool:
        """Whether there is something to look after now and then: never."""
        return False

    def serve(self) -> None:
        """Deal with calls that wait, some of them."""
        for _ in range(_AT_ONCE):
            if not self._taken:
                self._take(_LINGER_MS)
            if not self._taken:
                return
            self._serve_call(*self._taken.popleft())
        while self._taken:
            self._takes = False  # so that it has an end
            self._serve_call(*self._taken.popleft())
        self._takes = True

    def _take(self, wait: int = 0) -> None:
        """Receive the calls that wait, also while another is dealt with.

        A signal to its caller interrupts a call that is not received yet, and those that are never interrupted otherwise
        fail then too, with EINTR (seccomp_unotify(2)): programs take that for an answer.
        """
        while self._takes and not self._is_over:
            ready = self._calls.poll(wait)
            if not ready:
                return
            if not ready[0][1] & select.POLLIN:
                self.poll.unregister(self._listener)
                self._is_over = True  # nobody is left who could call
                return
            call = notify.receive_call(self._listener)
            if call:
                self._taken.append(call)
            wait = 0

    def end(self) -> None:
        """Look no longer. Whoever of the command still lives gets ENOSYS for what is notified. It may be called again."""
        self.handed_over()
        for tid in tuple(self._tracees):
            self._forget(tid)
        if not self.poll.closed:
            self.poll.close()
            with suppress(PermissionError):
                os.setpriority(os.PRIO_PROCESS, 0, self._nice)
            for fd in (self._ours, *((self._listener,) if self._listener >= 0 else ())):
                os.close(fd)

    def record(self) -> Record:
        """What was seen; after `supervise` has returned."""
        calls: dict[str, int] = {}
        for key, times in self._counts.items():
            calls[self._name(key[0])] = calls.get(self._name(key[0]), 0) + times
        gap = self._gap + (f" ({self._unread} calls)" if self._unread else "")
        first = {self._name(number): event for number, event in self._first.items()}
        return Record(calls, tuple(self._seen.values()), first, tuple(self._variants()), self._others, gap)

    def _variants(self) -> Iterator[Variant]:
        if self._job.variants:
            for key, times in self._counts.items():
                arguments = dict(zip(self._job.variants(key[0]), key[1:], strict=False))
                yield Variant(self._name(key[0]), key[0], tuple(arguments.get(index, 0) for index in range(6)), times)

    def _name(self, number: int) -> str:
        return self._names.get(number, f"#{number}" if number != UNKNOWN_NUMBER else "#others")

    def _serve_call(self, waiting: int, tid: int, number: int, arguments: tuple[int, ...]) -> None:
        """Look at one call and answer it; whatever happens to the look, it is answered."""
        event, name = None, self._name(number)
        refused = errno.EPERM  # until it is known
        try:
            refused = self._verdicts.refusal(number, arguments)
            if self.tap:
                self.tap(tid, name, arguments, lambda: self._tracee(waiting, tid))
            is_wanted = name in self._job.named or name in self._job.also
            is_new = number not in self._first and len(self._first) < MOST_FIRST
            if refused or is_new or (self._job.reads and is_wanted):
                event = self._look(waiting, tid, number, arguments, refused)
                if self.peek:
                    self.peek(event)
        finally:
            if refused:
                was_there = notify.answer(self._listener, waiting, refused)
            else:
                was_there = notify.resume(self._listener, waiting)
        if not was_there:
            return  # a signal came in between: the call is made again, or was never made
        self._count(number, arguments)
        if event:
            if is_new:
                self._first[number] = event
            if refused or self._job.reads:
                self._note(event)
        if name in _EXECUTING:
            self._renew(tid)

    def _count(self, number: int, arguments: tuple[int, ...]) -> None:
        variants = self._job.variants
        key = (number, *[arguments[index] for index in variants(number)]) if variants else (number,)
        if key not in self._counts and len(self._counts) >= MOST_VARIANTS:
            # A hostile command may call any of a thousand million numbers.
            key = (number if number in self._names else UNKNOWN_NUMBER,)
            self._gap = self._gap or "there were too many different calls to tell them all apart"
        self._counts[key] = self._counts.get(key, 0) + 1

    def _note(self, event: Event) -> None:
        if self.sink:
            self.sink(event)
        seen = self._seen.get(event.key)
        if seen:
            self._seen[event.key] = Seen(seen.first, event, seen.times + 1)
        elif len(self._seen) < MOST_SEEN and self._text < MOST_TEXT:
            self._seen[event.key] = Seen(event, event, 1)
            self._text += len(event.program) + sum(len(place.path) + len(place.real) for place in event.places)
        else:
            self._others += 1

    # --- looking at the caller ---

    def _look(self, waiting: int, tid: int, number: int, arguments: tuple[int, ...], refused: int) -> Event:
        """The event, with as much as can be known."""
        name = self._name(number)
        event = Event(time.monotonic() - self._began, tid, 0, "", name, arguments, refused=refused)
        try:
            tracee = self._tracee(waiting, tid)
        except OSError as error:
            if error.errno not in _GONE:
                self._missed(f"cannot look into process {tid}: {os.strerror(error.errno or 0)}")
            return event
        event = event._replace(pid=tracee.pid, program=tracee.program)
        try:
            places, address = reading.read(tracee, name, arguments)
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
                self._missed(f"cannot read what a call names: {os.strerror(error.errno)}")
            return event  # the kernel finds no path there either
        except (ValueError, struct.error):
            return event
        return event._replace(places=places, address=address)

    def _missed(self, why: str) -> None:
        self._gap = self._gap or why
        self._unread += 1

    def _tracee(self, waiting: int, tid: int) -> Tracee:
        """Raises OSError."""
        if not tid:
            raise PermissionError(errno.EPERM, "not of this pid namespace")
        known = self._tracees.get(tid)
        if known and known.is_alive():
            return known
        self._forget(tid)
        if len(self._tracees) >= _MOST_TRACEES:
            self._forget(next(iter(self._tracees)))
        made = Tracee(tid, self._take)
        if not notify.is_waiting(self._listener, waiting):
            made.close()
            raise ProcessLookupError(errno.ESRCH, "gave up")
        self._tracees[tid] = made
        return made

    def _forget(self, tid: int) -> None:
        known = self._tracees.pop(tid, None)
        if known:
            known.close()

    def _renew(self, tid: int) -> None:
        """A process that executes another program has another memory, under the same number."""
        pid = self._tracees[tid].pid if tid in self._tracees else tid
        for other in [number for number, known in self._tracees.items() if known.pid == pid]:
            self._forget(other)
