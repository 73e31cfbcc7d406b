"""The runs of `sandrun learn`: one that is observed, in a cage, and one under what was learned of it.

Each is a launch in a process of its own: a supervisor cannot become anything else again.
"""

from __future__ import annotations

import os
import pickle
import select
import signal
import stat
from typing import TYPE_CHECKING, NamedTuple

from sandrun import elf, libc, report
from sandrun.errors import SandrunError
from sandrun.host import System, home_of
from sandrun.learn import cage as cages
from sandrun.learn import calls
from sandrun.learn.compose import Run
from sandrun.learn.derive import Scene
from sandrun.learn.tiers import is_below, tiers
from sandrun.learn.uses import Uses
from sandrun.plan.groups import DEVICES, TEMPORARY, Context, members
from sandrun.policy import syscalls
from sandrun.primitives.landlock import READ
from sandrun.profile.model import PathEntry
from sandrun.profile.paths import expand
from sandrun.why.files import CHANGING
from sandrun.why.rules import Rules
from sandrun.why.seen import Seen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from sandrun.cli.options import Request
    from sandrun.cli.run import Prepared
    from sandrun.learn.tiers import Tiers
    from sandrun.observe.events import Event, Record
    from sandrun.observe.tracee import Tracee
    from sandrun.plan.format import Plan
    from sandrun.profile.model import Profile
    from sandrun.supervise import Outcome
    from sandrun.traffic import Traffic

FIRST_USER, LAST_USER = 1000, 59999
"""Uids of people (login.defs(5))."""
MOST_HOSTS = 1 << 20
_PART = 1 << 16


class Place(NamedTuple):
    """Where the user is: the host, and what of it is whose."""

    host: System
    cwd: str
    home: str
    tiers: Tiers


def look_around() -> Place:
    """Where this process stands. Raises SandrunError if its working directory is gone."""
    import pwd  # noqa: PLC0415 (--help does without it)

    host = System()
    cwd = host.realpath(host.cwd) if host.cwd else ""
    if not cwd:
        raise SandrunError("cannot learn: the working directory was deleted", hint="start in another one")
    home = home_of(host, host.account(host.uid))
    home = host.realpath(home) if home.startswith("/") else ""
    people = (entry.pw_dir for entry in pwd.getpwall() if FIRST_USER <= entry.pw_uid <= LAST_USER)
    others = [host.realpath(path) for path in ("/root", *people) if path.startswith("/")]
    others = [path for path in dict.fromkeys(others) if path not in (home, "/")]
    return Place(host, cwd, home, tiers(home, others, cwd))


def caged(request: Request, cage: str, place: Place) -> Request:
    """The options of the user on top of those of a cage."""
    from sandrun.cli.options import Override  # noqa: PLC0415

    flags = cages.flags(cage, place.cwd, place.home, place.tiers, request.command, place.host)
    return request._replace(
        profiles=(cages.PROFILE, *request.profiles),
        overrides=(*(Override(*flag) for flag in flags), *request.overrides),
        optional=(*request.optional, *(() if cage == "open" else cages.OPTIONAL)),
        on_exit="discard",
    )


def scene(prepared: Prepared, cage: str, place: Place, command: Sequence[str]) -> Scene:
    """What the derivation asks about."""
    host = place.host
    executable = os.fsdecode(prepared.resolution.plan.executable)
    context = Context(host, host.uid, place.home, elf.trace(executable, host, lambda _name: None))
    temporary = [(host.realpath(path), "filesystem.tmp") for path in TEMPORARY]
    own_home = [(place.home, "filesystem.home")] if cage == "private" and place.home else []
    granted = [
        grant
        for path in _paths_of(prepared.profile)
        if (grant := host.realpath(path)) != "/" and host.lstat(grant) is not None
    ]
    return Scene(
        host,
        place.cwd,
        place.home,
        place.tiers,
        tuple(grant.path for grant in members("@runtime", READ, context)),
        tuple(host.realpath(path) for path in DEVICES),
        tuple(grant.path for grant in members("@tty", READ, context)),
        (*temporary, *own_home),
        (place.cwd, *cages.inputs(command, place.cwd, place.tiers, host), *granted),
        is_open=cage == "open",
    )


def _paths_of(profile: Profile) -> list[str]:
    """The absolute paths that the cage grants by name."""
    keys = ("read", "write", "execute", "create", "overlay")
    entries = (value.value for key in keys for value in profile.items(f"filesystem.{key}"))
    return [entry.path for entry in entries if isinstance(entry, PathEntry) and entry.path.startswith("/")]


class Streams(NamedTuple):
    """What a run has instead of the standard streams of this process.

    `output` and `errors`, if set, get all that the command prints to them, over pipes. `is_quiet`: it has no terminal,
    `stdin` is its input, and what else it prints is not shown.
    """

    output: Callable[[bytes], object] | None = None
    errors: Callable[[bytes], object] | None = None
    is_quiet: bool = False
    stdin: int = -1


AS_HERE = Streams()


def observe(request: Request, prepared: Prepared, streams: Streams = AS_HERE) -> Run:
    """Run the command of `request` in a process of its own, observed. Raises SandrunError if it does not run."""
    result = os.memfd_create("learned")
    # What the supervisor writes is believed here, so no process of the command may reach that file through our /proc.
    libc.prctl(libc.PR_SET_DUMPABLE, 0)
    try:
        with _interrupts_are_the_commands():
            takers = {fd: take for fd, take in ((1, streams.output), (2, streams.errors)) if take}
            pipes = {fd: os.pipe() for fd in takers}
            parent = os.getpid()
            pid = os.fork()
            if not pid:
                _child(parent, result, lambda: _observed(request, prepared), streams, pipes)
            for _, writer in pipes.values():
                os.close(writer)
            _read_all({pipes[fd][0]: take for fd, take in takers.items()})
            os.waitpid(pid, 0)
        with open(os.dup(result), "rb") as file:
            file.seek(0)
            # The process that wrote this is a copy of this one, and no other can reach it.
            found = pickle.load(file) if os.fstat(result).st_size else None  # noqa: S301
    finally:
        libc.prctl(libc.PR_SET_DUMPABLE, 1)
        os.close(result)
    if isinstance(found, Run):
        return found
    if isinstance(found, list):
        raise SandrunError(found[0], hint="; ".join(line.removeprefix("hint: ") for line in found[1:]) or None)
    raise SandrunError("cannot learn: the process that observed the command was killed")


def _read_all(takers: Mapping[int, Callable[[bytes], object]]) -> None:
    """Read these descriptors to their ends, and close them."""
    left = dict(takers)
    poll = select.poll()
    for fd in left:
        poll.register(fd, select.POLLIN)
    while left:
        for fd, _ in poll.poll():
            data = os.read(fd, _PART)
            if data:
                left[fd](data)
            else:
                poll.unregister(fd)
                os.close(fd)
                del left[fd]


class _interrupts_are_the_commands:  # noqa: N801 (used as a function)
    """An interrupt from the terminal reaches the supervisor by itself, and ends this one after it."""

    def __enter__(self) -> None:
        self.before = signal.signal(signal.SIGINT, signal.SIG_IGN)

    def __exit__(self, *_error: object) -> None:
        signal.signal(signal.SIGINT, self.before)


def _child(
    parent: int, result: int, work: Callable[[], Run], streams: Streams, pipes: Mapping[int, tuple[int, int]]
) -> None:
    """Do the work in this process, write what comes of it, and end."""
    try:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        libc.die_with(parent)
        libc.prctl(libc.PR_SET_DUMPABLE, 1)  # until it is a supervisor; it reads its own /proc before
        if streams.is_quiet:
            os.setsid()
            null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
            for fd, to in enumerate((streams.stdin if streams.stdin >= 0 else null, null, null)):
                os.dup2(to, fd)
        for fd, (reader, writer) in pipes.items():
            os.dup2(writer, fd)
            os.close(reader)
            os.close(writer)
        found: Run | list[str]
        try:
            found = work()
        except SandrunError as error:
            found = error.lines()
        except OSError as error:
            found = [f"cannot observe the command: {error.filename or 'a system call'}: {report.reason(error)}"]
        with open(os.dup(result), "wb") as file:
            pickle.dump(found, file)
    finally:
        os._exit(0)


def _observed(request: Request, prepared: Prepared) -> Run:
    from sandrun import supervise  # noqa: PLC0415 (in the child only)
    from sandrun.launch import launch  # noqa: PLC0415
    from sandrun.observe.observer import Job, observe  # noqa: PLC0415
    from sandrun.observe.program import EVERY  # noqa: PLC0415
    from sandrun.plan import environment  # noqa: PLC0415
    from sandrun.watch import begin  # noqa: PLC0415
    from sandrun.workspace import launch as workspace  # noqa: PLC0415

    profile, kernel, resolution, _ = prepared
    values = environment.values(profile, resolution.account)
    session = workspace.prepare(resolution.plan, request.command, request.overlay_size)
    try:
        plan, observer = observe(resolution.plan, kernel.arch, Job(calls=EVERY, but=calls.unseen(kernel.arch)))
        looks = _Looks(resolution.plan, kernel.arch)
        observer.sink, observer.tap = looks.see, looks.tap
        watch = begin(plan, verbose=request.verbose, observer=observer)
        child = launch(plan, values, watch, session.overlays if session else ())
    except BaseException:
        if session:
            session.abandon()
        raise
    outcome = supervise.supervise(child, watch, plan)
    status = report.status(outcome)
    report.say(report.ending(outcome))
    if session:
        session.finish(outcome, status, "discard")
    return looks.run(outcome, status, observer.record())


class _Looks:
    """All that is looked at in one run."""

    def __init__(self, plan: Plan, arch: str) -> None:
        from sandrun.observe.answers import Names  # noqa: PLC0415 (in the child only)
        from sandrun.observe.peaks import Peaks  # noqa: PLC0415

        host = System()
        seen = Seen(plan, host)
        self._names, self._peaks = Names(_hosts), Peaks()
        self._arch, self._threads = arch, set[int]()
        self._uses = Uses(_granter(plan, seen, host), lambda path: seen.at(path).masked, self._names.of)

    def see(self, event: Event) -> None:
        """Take an event."""
        self._names.see(event)
        self._peaks.see(event)
        self._uses.see(event)

    def tap(self, tid: int, name: str, arguments: tuple[int, ...], look: Callable[[], Tracee]) -> None:
        """Take a call."""
        self._threads.add(tid)
        self._names.tap(tid, name, arguments, look)
        self._peaks.tap(tid, name, arguments, look)

    def run(self, outcome: Outcome, status: int, record: Record) -> Run:
        """The sum, once the command has ended."""
        uses, traffic = self._uses, _traffic(outcome.network)
        seen = dict(record.calls)
        if len(self._threads) > 1:
            seen |= dict.fromkeys(calls.MAKING & syscalls.numbers(self._arch).keys(), len(self._threads) - 1)
        return Run(
            places=uses.places,
            peers=uses.peers,
            calls={name: times for name, times in seen.items() if times > uses.blocked.get(name, 0)},
            traffic=traffic.endpoints if traffic else (),
            status=status,
            cpu=outcome.user + outcome.system,
            wall=outcome.wall,
            refused=uses.refused,
            blocked={name: times for name, times in uses.blocked.items() if name not in uses.fallen_back},
            others=uses.others + record.others,
            gap=record.gap,
            missed=uses.missed,
            turned_away=traffic.refused if traffic else (),
            highest=self._peaks.highest,
            memory=outcome.resources.memory_peak if outcome.resources else -1,
        )


def _hosts() -> str:
    """What hosts(5) says on this host."""
    try:
        with open("/etc/hosts", encoding="utf-8", errors="replace") as file:
            return file.read(MOST_HOSTS)
    except OSError:
        return ""


def _traffic(record: bytes | None) -> Traffic | None:
    from sandrun import traffic  # noqa: PLC0415

    return traffic.read(record) if record is not None else None


def _granter(plan: Plan, seen: Seen, host: System) -> Callable[[str, int], bool]:
    """Whether the cage lets these rights be used at a canonical path: by its path rules, and by what it mounts there."""
    rules = Rules(plan, seen, host)
    known: dict[str, int] = {}

    def granted(path: str, rights: int) -> bool:
        if path not in known:
            spot = seen.at(path)
            kind = stat.S_IFMT(spot.found.mode) if spot.found else stat.S_IFREG
            is_closed = spot.read_only and kind in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK)
            given = rules.on(path)[0] & ~(CHANGING if is_closed else 0)
            if spot.found and spot.source and not os.access(spot.source, os.R_OK):
                given &= ~READ  # by ordinary permissions
            known[path] = 0 if spot.masked else given
        return not rights & ~known[path]

    return granted


def expanded(profile: Profile, keys: Iterable[str], place: Place) -> Iterator[str]:
    """The paths that lists of a profile stand for here."""
    for value in (value for key in keys for value in profile.items(key)):
        if isinstance(value.value, PathEntry) and not value.value.group:
            yield from expand(value, place.host, place.home)


def is_exposed(output: str, profile: Profile, place: Place) -> bool:
    """Whether the command may write the profile itself: the next launch under it would believe that."""
    path = place.host.realpath(output if output.startswith("/") else f"{place.cwd}/{output}")
    writable = expanded(profile, ("filesystem.write", "filesystem.create"), place)
    return any(is_below(path, place.host.realpath(top)) for top in writable)
