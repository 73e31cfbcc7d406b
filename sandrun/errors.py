"""What goes wrong and what it means for the exit status.

Every error that a user can cause is a `SandrunError`; anything else that escapes is a bug in sandrun. Nothing in here
imports more than the language, so that the launch path can raise these too.
"""

from __future__ import annotations

EXIT_LATER_CHECK = 123
EXIT_TIMEOUT = 124
EXIT_SANDRUN = 125
EXIT_CANNOT_EXECUTE = 126
EXIT_NOT_FOUND = 127


class SandrunError(Exception):
    """An error with one or more lines for the user and the exit status it leads to.

    `message` is `<what could not be done>: <object>: <why>`, lower case, without a full stop; `hint` says what to do.
    """

    status = EXIT_SANDRUN
    kind = "error"
    """The word for it in the event of `--status-fd`: usage, profile, unsupported, command, step, or this one."""

    told = False
    """Whether its lines have reached the caller already."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        # What an error is made from is not what it keeps as `args`, and programs send errors between processes.
        return _unpickled, (type(self), self.args, self.__dict__)

    def lines(self) -> list[str]:
        """The lines to print, without the `sandrun: ` prefix; a hint is its own line."""
        lines = [self.message]
        if self.hint:
            lines.append(f"hint: {self.hint}")
        return lines


def _unpickled(kind: type[SandrunError], args: tuple[object, ...], state: dict[str, object]) -> SandrunError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class Problem:
    """One thing that is wrong at one place of a profile or a command line."""

    __slots__ = ("hint", "message", "where")

    def __init__(self, where: str, message: str, hint: str | None = None) -> None:
        self.where = where
        self.message = message
        self.hint = hint

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Problem) and repr(self) == repr(other)

    def __hash__(self) -> int:
        return hash(repr(self))

    def __repr__(self) -> str:
        return f"Problem({self.where!r}, {self.message!r}, {self.hint!r})"

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message


class ProblemsError(SandrunError):
    """Several problems at once; each is one line, followed by its hint if it has one."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("; ".join(str(problem) for problem in problems))
        self.problems = tuple(problems)

    def lines(self) -> list[str]:
        lines: list[str] = []
        for problem in self.problems:
            lines.append(str(problem))
            if problem.hint:
                lines.append(f"hint: {problem.hint}")
        return lines


class ProfileError(ProblemsError):
    """A profile, or the flags on top of it, cannot be understood or contradicts itself."""

    kind = "profile"


class UnsupportedError(ProblemsError):
    """A protection that was asked for cannot be had from this kernel, this user or this container."""

    kind = "unsupported"


class UsageError(SandrunError):
    """The command line itself is wrong."""

    kind = "usage"


class StepError(SandrunError):
    """A step between `fork` and `execve` failed: the command did not run."""

    kind = "step"

    def __init__(self, step: str, errno: int, message: str, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.step = step
        self.errno = errno


class CommandError(SandrunError):
    """The command was not found (127), or was found and cannot be executed (126)."""

    kind = "command"

    def __init__(self, message: str, *, status: int, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status
