"""`run`: a confined command from start to end, as `subprocess.run` has it."""

from __future__ import annotations

import subprocess
from typing import IO, TYPE_CHECKING, Any

from sandrun.errors import UsageError
from sandrun.library.process import Popen
from sandrun.library.status import Resources

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping, Sequence

    from sandrun.library.start import Argument
    from sandrun.library.status import Enforcement
    from sandrun.library.words import Source


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
        denials: tuple[Mapping[str, Any], ...] | None = None,
        resources: Resources | None = None,
        ending: str = "exited",
        report: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(args, returncode, stdout, stderr)
        self.enforcement = enforcement
        self.denials = denials
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
    """Run a command with only what `profile` grants it, wait for it, and return how it ended."""
    if input is not None:
        if stdin is not None:
            raise ValueError("stdin and input arguments may not both be used.")
        stdin = subprocess.PIPE
    if capture_output:
        if stdout is not None or stderr is not None:
            raise ValueError("stdout and stderr arguments may not be used with capture_output.")
        stdout = stderr = subprocess.PIPE
    if explain or report:
        raise UsageError("not there yet: explain and report")
    with Popen(
        argv, profile=profile, stdin=stdin, stdout=stdout, stderr=stderr, cwd=cwd, env=env, pass_fds=pass_fds,
        text=text, encoding=encoding, errors=errors, **overrides,
    ) as process:  # fmt: skip
        try:
            out, err = process.communicate(input, timeout=timeout)
        except BaseException:
            process.end()
            raise
    status = process.returncode
    completed = CompletedProcess(
        argv,
        -1 if status is None else status,
        out,
        err,
        enforcement=process.enforcement,
        resources=process.resources,
        ending=process.ending or "lost",
    )
    if check:
        completed.check_returncode()
    return completed
