"""The run of `sandrun learn` under what was learned: whether it ends as the first did, and what is new about it.

It is observed as the first run was, so that what the profile refuses can be told from what the cage refused already,
and from what was never there.
"""

from __future__ import annotations

import hashlib
import os
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

from sandrun.cli import learning, trial
from sandrun.cli import run as runs
from sandrun.errors import EXIT_SANDRUN, SandrunError
from sandrun.learn.derive import spell
from sandrun.learn.endpoints import derive_network
from sandrun.learn.patterns import generalise
from sandrun.learn.tiers import is_below
from sandrun.profile.layer import read_flags
from sandrun.profile.merge import merge

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sandrun.cli.learning import Place
    from sandrun.cli.options import Request
    from sandrun.learn.compose import Result, Run
    from sandrun.learn.derive import Scene
    from sandrun.profile.model import Profile

LEAST_SECONDS, LONGER = 10.0, 10


class Verified(NamedTuple):
    """What came of the run under the profile."""

    status: int
    news: tuple[str, ...] = ()
    """What was refused, and not refused or missing in the cage."""
    same_output: bool | None = None
    """None if the outputs were not compared."""
    errors: tuple[str, ...] = ()
    """Why there was no run, or why nobody could look on."""

    def agrees(self, status: int) -> bool:
        """Whether it went as the first run, which ended with this status."""
        return self.status == status and not self.news and self.same_output is not False


class Printed:
    """The stdout of a run: taken in parts, handed on if it is to be shown, and known by its digest."""

    def __init__(self, *, show: bool) -> None:
        self._digest = hashlib.sha256()
        self._shows = show

    def take(self, data: bytes) -> None:
        """Take the next part; if nobody reads what is shown any more, that ends the showing."""
        self._digest.update(data)
        while data and self._shows:
            try:
                data = data[os.write(1, data) :]
            except OSError:
                self._shows = False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Printed) and self._digest.digest() == other._digest.digest()

    __hash__ = None  # type: ignore[assignment] # it grows


class Input:
    """The stdin of both runs: a regular file is read again from where it stood; of anything else nothing is left."""

    def __init__(self) -> None:
        self._at = -1
        with suppress(OSError):
            if stat.S_ISREG(os.fstat(0).st_mode):
                self._at = os.lseek(0, 0, os.SEEK_CUR)

    @property
    def is_lost(self) -> bool:
        """Whether the first run had something to read of which nothing is left for the second."""
        return self._at < 0 and not is_device(0)

    def again(self) -> int:
        """A new descriptor: of the file, at the same place; else of what has an end at once. Raises OSError."""
        if self._at >= 0:
            with suppress(OSError):
                fd = os.open("/proc/self/fd/0", os.O_RDONLY | os.O_CLOEXEC)
                os.lseek(fd, self._at, os.SEEK_SET)
                return fd
            self._at = -1
        if is_device(0):
            return os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        reader, writer = os.pipe()
        os.close(writer)
        return reader


def is_device(fd: int) -> bool:
    """Whether it is a terminal or the like: programs ask those more than a pipe."""
    try:
        return stat.S_ISCHR(os.fstat(fd).st_mode)
    except OSError:
        return True  # it is closed, and /dev/null will take its place


@contextmanager
def unheard(given: Input, printed: Printed | None) -> Iterator[learning.Streams]:
    """Streams for another run: what it prints is not shown, and is the same kind of thing, so that programs make the
    same calls. Raises OSError."""
    output = printed.take if printed is not None else None if is_device(1) else len
    stdin = given.again()
    try:
        yield learning.Streams(output, None if is_device(2) else len, is_quiet=True, stdin=stdin)
    finally:
        os.close(stdin)


class Trial(NamedTuple):
    """What does not change between several runs under what was learned of one."""

    request: Request
    cage: str
    scene: Scene
    run: Run
    given: Input
    printed: Printed | None
    """Of the first run, if the outputs are to be compared."""

    def verify(self, result: Result, profile: Profile, place: Place) -> Verified:
        """Run the command under the profile. Nothing that it writes into the working directory stays, unless the cage
        is open. If it takes much longer than the first run, it waits for something, and is ended (status 124)."""
        if self.cage != "open":
            profile = merge(profile, read_flags([("filesystem.overlay", ".", "--overlay")])[0])
        limited = trial.limited(profile, max(LEAST_SECONDS, LONGER * self.run.wall))
        created = [path for path in _created(profile, place) if not os.path.lexists(path)]
        try:
            return self._observed(limited, result)
        finally:
            for path in created if self.cage != "open" else ():
                if os.path.lexists(path) and not os.lstat(path).st_size:
                    os.unlink(path)

    def _observed(self, profile: Profile, result: Result) -> Verified:
        printed = Printed(show=False)
        request = self.request._replace(on_exit="discard", quiet=True)
        try:
            prepared = runs.prepare(request, request.command, profile=profile)
            if prepared.resolution.plan.broker_filter:
                return self._unobserved(profile)
            with unheard(self.given, printed if self.printed is not None else None) as streams:
                again = learning.observe(request, prepared, streams)
        except SandrunError as error:
            return Verified(error.status, errors=tuple(error.lines()))
        news = tuple(_news(self.run, again, result, profile, self.scene))
        return Verified(again.status, news, None if self.printed is None else printed == self.printed)

    def _unobserved(self, profile: Profile) -> Verified:
        status, errors = trial.first(profile, self.request.command)
        why = "only the status was compared: the supervisor makes the connections, and nobody else can look on"
        return Verified(status, errors=(*errors, *(() if status == EXIT_SANDRUN else (why,))))


def _news(first: Run, again: Run, result: Result, profile: Profile, scene: Scene) -> Iterator[str]:
    """What the second run was refused, as far as the first run or its result do not explain it."""
    known = {(generalise(use.path), use.done) for use in first.refused}
    missed = set(map(generalise, first.missed))
    for use in again.refused:
        path = generalise(use.path)
        if (path, use.done) not in known and path not in missed and use.path not in result.ungranted:
            yield f"{use.done} {use.path} ({use.evidence})"
    for name, times in again.blocked.items():
        if name not in first.blocked:
            yield f"syscall {name} ({times} times)"
    turned = {(row["what"], row["target"]) for row in first.turned_away}
    for row in again.turned_away:
        if (row["what"], row["target"]) not in turned:
            yield f"{row['what']} {row['target']} ({row['reason']})"
    asked = {left.partition(": ")[0] for left in result.left_out}
    for what, who in _refused(again, profile, scene):
        if what not in asked:
            yield f"{what} ({who})"


def _refused(run: Run, profile: Profile, scene: Scene) -> list[tuple[str, object]]:
    return list(derive_network(run.peers, run.traffic, profile, lambda path: spell(path, scene))[1])


def _created(profile: Profile, place: Place) -> list[str]:
    paths = learning.expanded(profile, ("filesystem.create",), place)
    return [path for path in paths if is_below(path, place.cwd)]
