"""The events of `--status-fd`: JSON lines for the program that started this one."""

from __future__ import annotations

import os

from sandrun import report
from sandrun.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sandrun.errors import SandrunError
    from sandrun.supervise import Outcome

INT_MAX = 2**31 - 1
FIRST_FREE_FD = 3
_USAGE = ("how", "wall", "user", "system", "max_rss", "killed", "resources")
"""What the end of a run tells of the outcome; twin of report_ended in sandrun/native/report.c."""


def writable(option: str, text: str) -> int:
    """The descriptor that an option names, open for writing, and closed in the command. Raises UsageError."""
    if not (text.isascii() and text.isdecimal()) or int(text) > INT_MAX:
        raise UsageError(f"not a file descriptor: {option} {text}")
    fd = int(text)
    if fd < FIRST_FREE_FD:
        raise UsageError(
            f"not free for events: {option} {fd}",
            hint="the command uses 0 to 2 itself: open another one, as in --status-fd 3 3>events.json",
        )
    try:
        import fcntl  # noqa: PLC0415 (only for these options)

        if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise UsageError(f"not open for writing: {option} {fd}")
    except OSError as error:
        raise UsageError(f"cannot use: {option} {fd}: {report.reason(error)}") from None
    os.set_inheritable(fd, False)
    return fd


class StatusFd:
    """Events as JSON lines. A reader that went away is warned of; the command is not harmed by it."""

    def __init__(self, text: str) -> None:
        """Check the argument of `--status-fd`; "" is a StatusFd that writes nothing. Raises UsageError."""
        self.fd = writable("--status-fd", text) if text else -1
        """-1 as soon as nobody reads any more."""

    def send(self, event: str, **values: Any) -> None:
        """Write one event."""
        if self.fd >= 0:
            self.write(report.event(event, **values))

    def ended(self, outcome: Outcome, status: int) -> None:
        """The command and everything it started are gone; `status` is that of sandrun."""
        if self.fd < 0:
            return
        document = report.outcome_document(outcome)
        self.send("exit", status=status, signal=outcome.signal, **{name: document[name] for name in _USAGE})

    def failed(self, error: SandrunError) -> None:
        """The command did not run."""
        lines = error.lines()
        self.send(
            "error",
            status=error.status,
            message="; ".join(lines),
            kind=error.kind,
            lines=lines,
            hint=error.hint,
        )

    def write(self, line: bytes) -> None:
        """Write an event as `report.event` makes it."""
        try:
            while line:
                line = line[os.write(self.fd, line) :]
        except OSError as error:
            report.warn([f"cannot write: --status-fd {self.fd}: {report.reason(error)}"])
            self.fd = -1
