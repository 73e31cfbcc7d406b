"""What a run leaves word of: warnings and endings on stderr, the JSON lines of `--status-fd`, the file of `--report`.

The last two are for programs. Both are checked before anything runs, and both are kept from the command: the descriptor
is closed in it, and nothing of the report exists in the file system while it runs, so it can neither read nor replace
it.
"""

from __future__ import annotations

import os
import stat

from sandrun import report
from sandrun.errors import EXIT_LATER_CHECK, SandrunError, UsageError
from sandrun.events import StatusFd, writable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from sandrun.brokered.session import Session as Brokered
    from sandrun.cli.options import Request
    from sandrun.explain.session import Explained
    from sandrun.explain.session import Session as Explaining
    from sandrun.launch import Child
    from sandrun.lock.hold import Held
    from sandrun.plan.resolve import Resolution
    from sandrun.profile.model import Profile
    from sandrun.supervise import Outcome
    from sandrun.trace.render import Traced
    from sandrun.trace.session import Session as Tracing
    from sandrun.workspace.launch import Session

_SUMS = 2**32 - 5
"""A prime."""


def read_hold(text: str) -> tuple[int, ...]:
    """The descriptors of `--hold READY:GO`, closed in the command; () for "". Raises UsageError."""
    if not text:
        return ()
    words = text.split(":")
    if len(words) != 2:
        raise UsageError(f"not two file descriptors: --hold {text}", hint="write READY:GO, as in --hold 3:4")
    return tuple(writable("--hold", word) for word in words)


class ReportFile:
    """A file that appears whole, at the end, with mode 0600, in the directory that was checked at the start."""

    def __init__(self, path: str) -> None:
        """Check the argument of `--report`; "" is a ReportFile that writes nothing. Raises SandrunError."""
        self.path = path
        self.directory = -1
        # Where the command can write, a name that it can guess would let it keep the report away.
        self.temporary = f".sandrun-report.{os.urandom(8).hex()}"
        if not path:
            return
        folder, self.name = os.path.split(path)
        try:
            self.directory = os.open(folder or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            self._check_target()
            os.close(self._create())
            os.unlink(self.temporary, dir_fd=self.directory)
        except OSError as error:
            raise SandrunError(f"cannot write the report: {path}: {report.reason(error)}") from None

    def _check_target(self) -> None:
        """Refuse to replace anything but a regular file: a rename would put a file where a device or link was."""
        if self.name in ("", ".", ".."):
            raise SandrunError(f"cannot write the report: {self.path}: not the name of a file")
        try:
            mode = os.lstat(self.name, dir_fd=self.directory).st_mode
        except FileNotFoundError:
            return
        if not stat.S_ISREG(mode):
            kind = "a symbolic link" if stat.S_ISLNK(mode) else "no regular file"
            raise SandrunError(
                f"cannot write the report: {self.path}: it is {kind}",
                hint="the report replaces the file FILE; --status-fd writes to a pipe or device",
            )

    def _create(self) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(self.temporary, flags, 0o600, dir_fd=self.directory)

    def write(self, document: Mapping[str, Any]) -> None:
        """Write the document and put it in place. Call it when no process of the command is left. Raises SandrunError."""
        if self.directory >= 0:
            self.put(report.to_json(document, indent=2))

    def put(self, text: str) -> None:
        """Write a text and put it in place. Raises SandrunError."""
        try:
            fd = self._create()
            try:
                with open(fd, "w", encoding="utf-8") as file:
                    file.write(text)
                os.rename(self.temporary, self.name, src_dir_fd=self.directory, dst_dir_fd=self.directory)
            except OSError:
                os.unlink(self.temporary, dir_fd=self.directory)
                raise
        except OSError as error:
            raise SandrunError(f"cannot write the report: {self.path}: {report.reason(error)}") from None


class Record:
    """What is known of one launch so far, told at each border of the flow to whom it concerns."""

    def __init__(self, request: Request, *, told: int | None = None) -> None:
        """Check `--status-fd` and `--report` before anything else. Raises UsageError, SandrunError.

        `told`: the `sum` of what has been said already, by the process that this one was before.
        """
        self.request = request
        self.told = told
        self.events = StatusFd(request.status_fd)
        try:
            self.hold = read_hold(request.hold)
            self.file = ReportFile(request.report)
        except SandrunError as error:
            self.events.failed(error)
            error.told = self._told_by_events()
            raise
        self.profile: Profile | None = None
        self.resolution: Resolution | None = None
        self.warned: tuple[str, ...] = ()
        self.held: Held | None = None
        """The lock that the launch is held to."""
        self.brokered: Brokered | None = None
        """The inputs and outputs of the launch."""
        self.explaining: Explaining | Tracing | None = None
        """What tells more of the run once it is over."""

    def planned(self, profile: Profile, resolution: Resolution) -> None:
        """The plan is made: say what the user should know before the command starts.

        A second plan takes the place of the first, and its warnings are said as far as they are new.
        """
        if self.events.fd in resolution.plan.pass_fds:
            raise UsageError(f"--status-fd {self.events.fd} and process.pass_fds name the same file descriptor")
        again = self.resolution is not None
        self.profile, self.resolution = profile, resolution
        if self.request.dry_run:
            return
        told, self.told = self.told, None
        warnings = (*resolution.warnings, *report.not_enforced(resolution.enforcement))
        self.warned, warned = warnings, self.warned
        if told is not None and told == self.sum():
            return
        if self.events.fd >= 0:
            self.events.write(report.planned(resolution))
        if self.request.verbose:
            if again:
                report.say(["planned again: not every namespace of this plan can be had here"])
            from sandrun import dryrun  # noqa: PLC0415 (only where the plan is shown)

            report.say(dryrun.text(dryrun.describe(profile, resolution)).splitlines())
        elif not self.request.quiet:
            report.warn(warning for warning in warnings if warning not in warned)

    def sum(self) -> int:
        """A number of 32 bits for the plan and its warnings: another plan is not taken for one that was told of."""
        assert self.resolution is not None  # noqa: S101 (planned() came first)
        said = self.resolution.plan.to_bytes() + "\n".join(self.warned).encode(errors="surrogateescape")
        return int.from_bytes(said, "little") % _SUMS

    def shown(self) -> int:
        """A dry run: print the plan and return the exit status."""
        assert self.profile is not None  # noqa: S101 (planned() came first)
        assert self.resolution is not None  # noqa: S101
        from sandrun import dryrun  # noqa: PLC0415 (only where the plan is shown)

        document = dryrun.describe(self.profile, self.resolution)
        report.emit(report.to_json(document, indent=2) if self.request.json else dryrun.text(document))
        self.file.write(
            report.run_document(self.request.command, 0, resolution=self.resolution, plan=self.plan_document())
        )
        return 0

    def plan_document(self) -> dict[str, Any] | None:
        """What the report has of the plan; None if there is no report, or was no plan."""
        if not self.file.path or self.profile is None or self.resolution is None:
            return None
        from sandrun import dryrun  # noqa: PLC0415 (only where the plan is shown)

        return dryrun.part_of_record(self.profile, self.resolution)

    def started(self, child: Child) -> None:
        """The command runs."""
        self.events.send("exec", pid=child.pid)

    def ended(self, outcome: Outcome, session: Session | None = None, private: Sequence[bytes] = ()) -> int:
        """The command and everything it started are gone: tell how, and return the exit status.

        With a workspace `--on-exit` is done first, so that the report says what became of it. A run that needed more
        than its lock knows has failed by then.
        """
        status = report.status(outcome)
        report.say(report.ending(outcome))
        explained = self.explaining.finish(outcome, private) if self.explaining else None
        if explained and self.request.json:
            report.say_json(explained.document())
        elif explained and not self._told_by_events():
            report.say(explained.text())
        denied = explained.document() if explained and explained.section == "explained" else None
        needed = self.held.needed(outcome.network, denied) if self.held else []
        if self.held and needed:
            report.say(self.held.ending(needed))
            status = status or EXIT_LATER_CHECK
        if self.brokered:
            status = self.brokered.finish(outcome, status)
        if denied is not None:
            self.events.send("explained", explained=denied)
        self.events.ended(outcome, status)
        workspace = None
        if session:
            end = session.finish(outcome, status, self.request.on_exit)
            status, workspace = end.status, end.document()
        document = report.run_document(
            self.request.command,
            status,
            resolution=self.resolution,
            outcome=outcome,
            workspace=workspace,
            locked=self.held.document(needed) if self.held else None,
            broker=self.brokered.document() if self.brokered else None,
            told=self._told(outcome, explained),
            plan=self.plan_document(),
        )
        return status if self._written(document) else status or EXIT_LATER_CHECK

    def _written(self, document: Mapping[str, Any]) -> bool:
        """Write the report, if one was asked for: whether all is well.

        It is told of by an event: a command that can write around the file could keep the report away and put its own there.
        """
        failure: SandrunError | None = None
        try:
            self.file.write(document)
        except SandrunError as error:
            failure = error
            report.say(error.lines())
        if self.file.path:
            self.events.send("report", written=failure is None)
        return failure is None

    def _told(self, outcome: Outcome, explained: Explained | Traced | None) -> dict[str, Any]:
        """The members of the report about a run that was observed."""
        if explained is None or not self.file.path:
            return {}
        used = getattr(self.explaining, "used", None)
        told = {explained.section: explained.document()}
        return {**told, "used": used(outcome, explained)} if used else told

    def _told_by_events(self) -> bool:
        """Whether whoever reads the events wants nothing of them on stderr, which is then the command's alone."""
        return self.request.quiet and self.events.fd >= 0

    def failed(self, error: SandrunError) -> None:
        """The command did not run; the caller prints why, unless a program that wants quiet has it as an event."""
        self.events.failed(error)
        error.told = self._told_by_events()
        document = report.run_document(
            self.request.command,
            error.status,
            resolution=self.resolution,
            plan=self.plan_document(),
            lines=error.lines(),
        )
        self._written(document)
