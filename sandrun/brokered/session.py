"""A launch with inputs and outputs: their descriptors before it, and what becomes of what the command left after it.

The command gets files that it cannot name: inputs that are open for reading, and for each output a file of memory. So it
needs no right to write anywhere. What it leaves is copied once, bounded; the copies are judged, and the copies are written.
"""

from __future__ import annotations

import fcntl
import os
import stat
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from sandrun import report
from sandrun.audit.questions import Questions
from sandrun.broker import INPUT, OUTPUT, variable
from sandrun.brokered import commit, reach, validator
from sandrun.brokered import target as targets
from sandrun.brokered.checks import RefusedError, check, copy
from sandrun.brokered.declared import declared
from sandrun.errors import EXIT_LATER_CHECK, SandrunError, UnsupportedError, UsageError
from sandrun.host import System
from sandrun.profile.model import Hidden, Origin, Value

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sandrun.brokered.declared import Declared, Input
    from sandrun.brokered.target import Target
    from sandrun.cli.options import Request
    from sandrun.kernel import Kernel
    from sandrun.plan.resolve import Resolution
    from sandrun.profile.model import Profile
    from sandrun.supervise import Outcome

KEYS = ("broker.input", "broker.output")
FIRST_FD, OWN_FD = 3, 64
"""Shells such as dash(1) redirect to numbers of one digit only, so the command's are the lowest that are free."""
WRITTEN, REFUSED, NOT_WRITTEN = "written", "refused", "not written"
_MFD_NOEXEC_SEAL = 8
"""memfd_create(2) since Linux 6.3: the file can never be executed."""


class Session:
    """The inputs and outputs of one launch; `profile` is what the command runs under, with their descriptors."""

    def __init__(self, profile: Profile, found: Declared, base: str) -> None:
        """Open everything. Raises SandrunError; what was opened then ends with the process."""
        self._base = base
        self._inputs = found.inputs
        self._files: dict[str, int] = {}
        """Our own descriptor of each output; that of the command's goes while it is supervised."""
        self.results: dict[str, dict[str, Any]] = {}
        given: dict[str, tuple[int, Origin]] = {}
        for each in found.inputs:
            fd = _open_input(each)
            if fd >= 0:
                given[variable(INPUT, each.name)] = fd, each.origin
        for output in found.outputs:
            fd = _memory(output.name)
            self._files[output.name] = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, OWN_FD)
            given[variable(OUTPUT, output.name)] = fd, output.origin
        # Last, so that the command's numbers are low ones.
        self._targets = tuple(targets.find(output) for output in found.outputs)
        self.profile = _with(profile, given)

    def check(self, resolution: Resolution, kernel: Kernel) -> None:
        """Raise UnsupportedError if the command could change what inputs and outputs rest on: no check would mean anything."""
        ask = Questions(resolution, kernel, System())
        problems = reach.problems(self._inputs, self._targets, ask)
        if problems:
            raise UnsupportedError(problems)

    def finish(self, outcome: Outcome, status: int) -> int:
        """The command is gone: write its outputs, or say why not. Returns the exit status with that."""
        if status:
            for target in self._targets:
                self._tell(target, NOT_WRITTEN, "the command failed")
            if self._targets:
                report.say(["no output is written: the command failed"])
            return status
        if outcome.survivors:
            return self._refused(
                {target.output.name: "processes of the command still live" for target in self._targets}
            )
        contents, problems = self._judged()
        if problems:
            return self._refused(problems)
        try:
            if validator.is_asked_to_end():
                raise RefusedError("outputs: sandrun was asked to end")
            commit.commit(self._base, contents)
        except (RefusedError, SandrunError) as error:
            for target in self._targets:
                self._tell(target, NOT_WRITTEN, str(error))
            report.say([f"cannot write {error}", *self._others()])
            return EXIT_LATER_CHECK
        for target, data in contents:
            self._tell(target, WRITTEN, "", len(data))
        return 0

    def document(self) -> list[dict[str, Any]]:
        """What became of each output, as JSON holds it."""
        return list(self.results.values())

    def _others(self) -> list[str]:
        return ["no output is written: all are, or none"] if len(self._targets) > 1 else []

    def _tell(self, target: Target, became: str, why: str, size: int | None = None) -> None:
        name = target.output.name
        self.results[name] = {"name": name, "path": target.output.path, "became": became, "size": size, "reason": why}

    def _judged(self) -> tuple[list[tuple[Target, bytes]], dict[str, str]]:
        """The copies that may be written, and by name why others may not."""
        contents: list[tuple[Target, bytes]] = []
        problems: dict[str, str] = {}
        for target in self._targets:
            fd = self._files.pop(target.output.name)
            try:
                data = copy(fd, target.output.max_size)
                check(target.output, data)
                contents.append((target, data))
            except (RefusedError, OSError) as error:
                problems[target.output.name] = report.reason(error) if isinstance(error, OSError) else str(error)
            finally:
                os.close(fd)
        # They take longest, and what is refused already needs none.
        for target, data in contents if not problems else ():
            try:
                validator.validate(target.output, data)
            except RefusedError as refused:
                problems[target.output.name] = str(refused)
        return contents, problems

    def _refused(self, problems: Mapping[str, str]) -> int:
        lines = []
        for target in self._targets:
            why = problems.get(target.output.name)
            self._tell(target, REFUSED if why else NOT_WRITTEN, why or "another output is refused")
            if why:
                lines.append(f"cannot write output {target.output.name}: {target.output.path}: {why}")
        report.say([*lines, *self._others()])
        return EXIT_LATER_CHECK


def wanted(profile: Profile) -> bool:
    """Whether a profile has inputs or outputs."""
    return any(profile.items(key) for key in KEYS)


def begin(profile: Profile, request: Request) -> Session:
    """Bring what was interrupted to its end, and open the inputs and outputs of a launch. Raises SandrunError."""
    if request.exec:
        raise UsageError(
            "--exec does not go with inputs and outputs", hint="somebody has to be left who checks and writes them"
        )
    found = declared(profile)
    base = ""
    if found.outputs:
        base = commit.place()
        commit.recover(base)
    return Session(profile, found, base)


def _open_input(each: Input) -> int:
    """A descriptor of a regular file, for reading only; -1 if it may be absent and is. Raises SandrunError.

    A directory would be a way around every rule, and opening a fifo or device could do something already.
    """
    try:
        fd = os.open(each.path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        if isinstance(error, FileNotFoundError) and each.optional:
            return -1
        raise SandrunError(f"cannot open input {each.name}: {each.path}: {report.reason(error)}") from None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise SandrunError(
            f"cannot open input {each.name}: {each.path}: not a regular file",
            hint="a pipe can be standard input; a directory is --read DIR",
        )
    return _passed(fd)


def _memory(name: str) -> int:
    """A file without a name, for the command to write."""
    flags = os.MFD_CLOEXEC | _MFD_NOEXEC_SEAL
    try:
        fd = os.memfd_create(f"sandrun-{name}", flags)
    except OSError:
        fd = os.memfd_create(f"sandrun-{name}", os.MFD_CLOEXEC)
    return _passed(fd)


def _passed(fd: int) -> int:
    """A descriptor that the command may have: open across execve(2), and none of the standard ones."""
    if fd < FIRST_FD:
        fd, low = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, FIRST_FD), fd
        os.close(low)
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    if flags & os.O_NONBLOCK:
        fcntl.fcntl(fd, fcntl.F_SETFL, flags & ~os.O_NONBLOCK)
    os.set_inheritable(fd, True)
    return fd


def _with(profile: Profile, given: Mapping[str, tuple[int, Origin]]) -> Profile:
    """The profile with these descriptors passed on, and the variables that name them."""
    values = dict(profile.values)
    passed = [Value(fd, origin) for fd, origin in given.values()]
    values["process.pass_fds"] = (*values.get("process.pass_fds", ()), *passed)
    for name, (fd, origin) in given.items():
        values[f"environment.set.{name}"] = (Value(Hidden(str(fd)), origin),)
    return profile._replace(values=MappingProxyType(values))
