"""Limits that a command ran into: seen at the calls that they make fail, or told by the signal or counter at its end.

Only limits that the plan sets are looked at, and only then their calls are observed: the others are not sandrun's.
"""

from __future__ import annotations

import os
import resource
import stat
from typing import TYPE_CHECKING, NamedTuple

from sandrun.explain.denials import LIMIT, Denial, Who
from sandrun.explain.remedies import Remedy, raised
from sandrun.plan.format import UNLIMITED
from sandrun.why.entries import Entry

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sandrun.observe.events import Event
    from sandrun.plan.format import Plan
    from sandrun.profile.model import Profile
    from sandrun.supervise import Outcome

COUNTS = {
    "as": "address space",
    "cpu": "processor time",
    "data": "data segments",
    "fsize": "size of a file",
    "nofile": "open files",
    "nproc": "processes of its user",
}
MAPPING = frozenset(("mmap", "brk", "mremap"))
CALLS = {
    "as": MAPPING,
    "data": MAPPING,
    "fsize": frozenset(("write", "pwrite64", "writev")),
    "nofile": frozenset(("openat", "open", "openat2", "socket", "dup", "pipe", "pipe2", "accept", "accept4")),
    "nproc": frozenset(("clone", "clone3", "fork", "vfork")),
}
"""Calls that fail when a limit is reached."""
SIGNALS = {24: "cpu", 25: "fsize"}
"""SIGXCPU and SIGXFSZ, with which the kernel says so (getrlimit(2))."""
FROM_SIGNAL = 128
HEAP_STEP = 0x21000
"""What malloc(3) asks of brk(2) at a time."""
PAGE = os.sysconf("SC_PAGE_SIZE")
_FD_BITS = 0xFFFFFFFF


class Reached(NamedTuple):
    """A call that a limit made fail."""

    name: str
    program: str
    pid: int
    when: float


def watched(plan: Plan) -> dict[str, int]:
    """The soft limits that the plan sets, by name, of those that can be watched."""
    numbers = {getattr(resource, f"RLIMIT_{name.upper()}"): name for name in COUNTS}
    return {numbers[number]: soft for number, soft, _ in plan.rlimits if number in numbers and soft != UNLIMITED}


def calls(plan: Plan) -> frozenset[str]:
    """The syscalls to observe for the sake of these limits."""
    return frozenset(call for name in watched(plan) for call in CALLS.get(name, ()))


class Watcher:
    """Looks at each call as it happens, while its caller waits; it is the observer's `sink`."""

    def __init__(self, plan: Plan) -> None:
        self._limits = watched(plan)
        self.reached: dict[tuple[str, int], Reached] = {}

    def __call__(self, event: Event) -> None:
        """Remember the limits that will make this call fail."""
        for name, limit in self._limits.items():
            if event.syscall not in CALLS.get(name, ()):
                continue
            try:
                exceeds = _exceeds(name, limit, event)
            except (OSError, ValueError, IndexError):
                continue  # the process ended, or is none that may be looked at
            if exceeds:
                self.reached[name, event.pid] = Reached(name, event.program, event.pid, event.when)


def _exceeds(name: str, limit: int, event: Event) -> bool:
    """Whether the call is one too many. Raises OSError, ValueError if the process cannot be looked at."""
    if name == "nofile":
        return len(os.listdir(f"/proc/{event.pid}/fd")) >= limit
    if name == "fsize":
        return _end_of_write(event) > limit
    if name == "nproc":
        uid = os.stat(f"/proc/{event.pid}").st_uid
        return bool(uid) and _tasks_of(uid) >= limit
    with open(f"/proc/{event.pid}/statm", "rb") as file:
        pages = file.read().split()
    wanted = event.arguments[1] if event.syscall == "mmap" else HEAP_STEP
    return int(pages[0 if name == "as" else 5]) * PAGE + wanted > limit


def _end_of_write(event: Event) -> int:
    """Where in its file a write ends; 0 if it is none to a regular file."""
    fd = event.arguments[0] & _FD_BITS
    found = os.stat(f"/proc/{event.pid}/fd/{fd}")
    if not stat.S_ISREG(found.st_mode):
        return 0
    with open(f"/proc/{event.pid}/fdinfo/{fd}", "rb") as file:
        fields = dict(line.split(b":", 1) for line in file.read().splitlines() if b":" in line)
    start = found.st_size if int(fields[b"flags"], 8) & os.O_APPEND else int(fields[b"pos"])
    length = 1 if event.syscall == "writev" else event.arguments[2]
    return (event.arguments[3] if event.syscall == "pwrite64" else start) + length


def _tasks_of(uid: int) -> int:
    count = 0
    for name in os.listdir("/proc"):
        if name.isdecimal():
            try:
                if os.stat(f"/proc/{name}").st_uid == uid:
                    count += len(os.listdir(f"/proc/{name}/task"))
            except OSError:
                continue
    return count


def denials(plan: Plan, profile: Profile, outcome: Outcome, reached: Iterable[Reached]) -> Iterator[Denial]:
    """The limits that a run reached."""
    limits = watched(plan)
    by_signal = SIGNALS.get(outcome.signal or outcome.status - FROM_SIGNAL, "")
    whos: dict[str, list[Who]] = {by_signal: []} if by_signal in limits else {}
    for one in reached:
        whos.setdefault(one.name, []).append(Who(one.program, one.pid, one.when))
    for name, who in whos.items():
        limit = limits[name]
        words = f"exceed the limit of {COUNTS[name]} ({name} = {limit})"
        yield _made(f"rlimits.{name}", words, profile, raised(name, limit), tuple(who), fatal=name == by_signal)
    if outcome.resources and outcome.resources.oom_kills:
        yield _made("resources.memory", "use more memory", profile, Remedy(text="a higher --memory"))
    if outcome.resources and outcome.resources.pids_refused:
        yield _made("resources.pids", "start more processes", profile, Remedy(text="a higher --pids"))
    if outcome.timed_out:
        yield _made("time.timeout", "run longer", profile, Remedy(text="a longer --timeout"))


def _made(
    key: str, words: str, profile: Profile, remedy: Remedy, who: tuple[Who, ...] = (), *, fatal: bool = True
) -> Denial:
    """`fatal`: the kernel or the supervisor itself said that this limit ended it."""
    value = profile.scalar(key)
    entry = (Entry(key, "", str(value.origin)),) if value else ()
    reason = f"limited by {key} ({value.origin})" if value else f"limited by {key}"
    return Denial(LIMIT, key, words, reason, entry, (key.partition(".")[0],), who=who, fatal=fatal, remedy=remedy)
