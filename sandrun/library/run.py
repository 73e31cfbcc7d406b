"""`run`: a confined command from start to end, as `subprocess.run` has it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
from typing import IO, TYPE_CHECKING, Any

from sandrun.errors import EXIT_SANDRUN
from sandrun.library import quick
from sandrun.library.process import Popen
from sandrun.library.start import Start
from sandrun.library.status import Resources, Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sandrun.library.start import Argument
    from sandrun.library.status import Denial, Enforcement
    from sandrun.library.words import Source

_NAME = "report.json"


class CalledProcessError(subprocess.CalledProcessError):
    """The command ended with another status than 0, and `check=True` was asked for.

    `process` is all that is known of the run; `denials` what the command was refused (None without `explain=True`).
    """

    def __init__(self, process: CompletedProcess) -> None:
        super().__init__(process.returncode, process.args, process.stdout, process.stderr)
        self.process = process
        self.denials = process.denials

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.process,)


class CompletedProcess(subprocess.CompletedProcess[Any]):
    """`subprocess.CompletedProcess`, with what is known of the confinement.

    `returncode` is negative for a command that a signal ended. `ending` is "exited", "signalled", "timeout" (of the
    profile; `returncode` is 124) or "lost" (the launcher was killed). `denials` is None without `explain=True`.
    """

    def __init__(
        self,
        args: Any,
        returncode: int,
        stdout: Any = None,
        stderr: Any = None,
        *,
        enforcement: tuple[Enforcement, ...] = (),
        denials: tuple[Denial, ...] | None = None,
        warnings: tuple[str, ...] = (),
        resources: Resources | None = None,
        ending: str = "exited",
        report: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(args, returncode, stdout, stderr)
        self.enforcement = enforcement
        self.denials = denials
        self.warnings = warnings
        self.resources = resources or Resources()
        self.ending = ending
        self.report = report

    def check_returncode(self) -> None:
        """Raise CalledProcessError if the status is not 0."""
        if self.returncode:
            raise CalledProcessError(self)


def run(
    argv: Argument | Sequence[Argument],
    *,
    profile: Source | Iterable[Source] = "default",
    input: Any = None,  # noqa: A002 (the name that subprocess.run has)
    capture_output: bool = False,
    timeout: float | None = None,
    check: bool = False,
    stdin: int | IO[Any] | None = None,
    stdout: int | IO[Any] | None = None,
    stderr: int | IO[Any] | None = None,
    cwd: str | bytes | os.PathLike[str] | None = None,
    env: Mapping[str, str] | None = None,
    pass_fds: Iterable[int] = (),
    text: bool | None = None,
    encoding: str | None = None,
    errors: str | None = None,
    explain: bool = False,
    report: bool = False,
    **overrides: Any,
) -> CompletedProcess:
    """Run a command with only what `profile` grants it, wait for it, and return how it ended.

    `profile` is the name of a profile, a path, a dict in the shape of a profile file, a `sandrun.Profile`, or a list of
    these, the later on top. Overrides are keys of profiles (sandrun-profile(5)), by the names of their options
    (`connect="pypi.org:443"`, `memory="1G"`, `read=["/data", "/srv"]`, `rlimit={"nofile": 64}`, `loopback=True`), or in
    full (`time_timeout="10s"`); they add to the lists of the profile, and replace its single values. `replace`,
    `optional` and `require` are those of the command line.

    `env` names all variables that the command gets, besides those that the profile sets, and their values; without it
    the profile chooses among those of this process. The launcher itself runs with the environment of this process; but a
    `${NAME}` in the paths of a profile is the value that the command gets, so who chooses names there chooses what it opens.

    The other arguments are those of `subprocess.run`; its `shell` is written as the command, `["sh", "-c", "..."]`.
    `timeout` seconds after the start the command and all that it started are killed and `subprocess.TimeoutExpired` is
    raised; a timeout of the profile asks with SIGTERM first, and gives status 124. `explain` has the command watched, which
    slows it down, and fills `denials`; `report` fills `report` with the record that `--report` writes.

    Raises SandrunError if the command cannot be launched, and CalledProcessError if `check` is set and it fails.
    """
    if input is not None:
        if stdin is not None:
            raise ValueError("stdin and input arguments may not both be used.")
        stdin = subprocess.PIPE
    if capture_output:
        if stdout is not None or stderr is not None:
            raise ValueError("stdout and stderr arguments may not be used with capture_output.")
        stdout = stderr = subprocess.PIPE
    is_plain = all(one is None for one in (stdin, stdout, stderr, cwd, timeout)) and not (explain or report)
    completed = _quickly(argv, profile, overrides, env, pass_fds) if is_plain else None
    if completed:
        if check:
            completed.check_returncode()
        return completed
    with contextlib.ExitStack() as stack:
        record = stack.enter_context(_Report()) if report else None
        process = stack.enter_context(
            Popen(
                argv,
                profile=profile,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                cwd=cwd,
                env=env,
                pass_fds=pass_fds,
                text=text,
                encoding=encoding,
                errors=errors,
                explain=explain,
                _extra=record.words if record else (),
                **overrides,
            )
        )
        try:
            out, err = process.communicate(input, timeout=timeout)
        except BaseException:
            process.end()
            raise
        returncode = process.wait()
        told = record.read() if record and process._status.has_reported() else None
        completed = _completed(argv, returncode, process._status, out, err, told)
    if check:
        completed.check_returncode()
    return completed


def _quickly(argv: Any, profile: Any, overrides: Any, env: Any, pass_fds: Iterable[int]) -> CompletedProcess | None:
    """A run that nothing goes into and nothing comes out of; None if it is for `Popen`."""
    with contextlib.closing(Start(argv, profile, overrides, env, pass_fds)) as start:
        ended = quick.run(start) if quick.serves(start.environment) else None
    if ended is None:
        return None
    raw, events = ended
    status = Status(-1)
    status.feed(events)
    if raw is None:
        raw = int(status.event("exit").get("status", EXIT_SANDRUN))
    if not status.started:
        raise status.error(raw)
    return _completed(argv, status.returncode(raw), status)


def _completed(
    argv: Any,
    returncode: int,
    status: Status,
    out: Any = None,
    err: Any = None,
    report: Mapping[str, Any] | None = None,
) -> CompletedProcess:
    return CompletedProcess(
        argv,
        returncode,
        out,
        err,
        enforcement=status.enforcement(),
        denials=status.denials(),
        warnings=status.warnings(),
        resources=status.resources(),
        ending=status.ending(),
        report=report,
    )


class _Report:
    """A directory for the launcher's report. It is read by descriptor: the command may be able to write around it."""

    def __enter__(self) -> _Report:
        self._directory = os.path.abspath(tempfile.mkdtemp(prefix="sandrun-report-"))
        self._fd = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.words = (f"--report={self._directory}/{_NAME}",)
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            os.fchmod(self._fd, 0o700)  # by descriptor, as the name may be a link by now
        os.close(self._fd)
        shutil.rmtree(self._directory, ignore_errors=True)

    def read(self) -> Mapping[str, Any] | None:
        """The report; None if there is none, or no JSON object."""
        try:
            fd = os.open(_NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self._fd)
            with open(fd, "rb") as file:
                found = json.load(file)
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None
