"""A launch with overlays: the workspace before it, and what becomes of the workspace after it.

A plan names the overlaid directories; the upper and work directories are made at the launch and handed beside the
plan, like private directories, since a plan is pure and may be used twice.
"""

from __future__ import annotations

import os
import termios
from typing import TYPE_CHECKING, Any, NamedTuple

from sandrun import libc, report
from sandrun.errors import EXIT_LATER_CHECK, SandrunError
from sandrun.primitives.view import VIEW_OVERLAY
from sandrun.workspace import store
from sandrun.workspace.commit import commit
from sandrun.workspace.diff import KINDS, changes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sandrun.plan.format import Plan
    from sandrun.supervise import Outcome
    from sandrun.workspace.commit import Result
    from sandrun.workspace.diff import Change
    from sandrun.workspace.store import Workspace
    from sandrun.workspace.tree import Tree, Upper

ON_EXIT = ("ask", "commit", "discard", "keep")
KEPT, COMMITTED, DISCARDED = "kept", "committed", "discarded"


class End(NamedTuple):
    """What became of a workspace, and the exit status of the launch with that."""

    workspace: Workspace
    status: int
    became: str = KEPT
    """Discarded too if nothing was changed; kept if anything of it is left."""
    changes: Mapping[str, int] | None = None
    """How many of each kind the command made, by `diff.KINDS`; None if they could not be read."""
    result: Result | None = None
    """Of a commit."""

    def document(self) -> dict[str, Any]:
        """It as JSON holds it."""
        counts = [len(self.result.refused), len(self.result.left_out)] if self.result else [0, 0]
        return {
            "id": self.workspace.id,
            "directories": list(self.workspace.directories),
            "became": self.became,
            "changes": dict(self.changes) if self.changes is not None else None,
            "committed": self.result.committed if self.result else 0,
            "refused": counts[0],
            "left_out": counts[1],
        }


class Session(NamedTuple):
    """The workspace of a launch, and the descriptor that locks it as long as the supervisor lives."""

    workspace: Workspace
    lock: int
    modes: list[Any]
    """Those of the terminal before the launch, if somebody sits at one: standard input and error. Else empty."""

    @property
    def overlays(self) -> tuple[tuple[bytes, bytes], ...]:
        """The (upper, work) directories that `primitives.view.View` takes."""
        return self.workspace.overlays

    def abandon(self) -> None:
        """The command did not run: nothing of the workspace stays."""
        try:
            store.remove(self.workspace)
        finally:
            os.close(self.lock)

    def finish(self, outcome: Outcome, status: int, on_exit: str = "keep") -> End:
        """The command and all its processes are gone: do what `--on-exit` says.

        An empty workspace goes without a word. One is committed only if the command succeeded, asked about only on a
        terminal, and kept otherwise; so it is where something goes wrong, and where processes would not die.
        """
        end = End(self.workspace, status)
        try:
            if outcome.survivors:
                report.say([f"kept: workspace {self.workspace.id}, which processes of the command may still use"])
                return end
            workspace = store.ended(self.workspace, status)
            kinds = [change.kind for _, change, _, _ in all_changes(workspace)]
            end = end._replace(workspace=workspace, changes={kind: kinds.count(kind) for kind in KINDS})
            return _finish(end, self._decide(end, len(kinds), on_exit), len(kinds))
        except SandrunError as error:
            report.say(error.lines())
            return end._replace(status=status or EXIT_LATER_CHECK)
        finally:
            os.close(self.lock)

    def _decide(self, end: End, count: int, on_exit: str) -> str:
        if not count:
            return "discard"
        if on_exit == "ask":
            return _ask(end.workspace, count, self.modes) if self.modes else "keep"
        return "keep" if on_exit == "commit" and end.status else on_exit


def directories(plan: Plan) -> tuple[str, ...]:
    """What the plan overlays, by number."""
    numbered = {int(source): os.fsdecode(path) for operation, _, path, source in plan.view if operation == VIEW_OVERLAY}
    return tuple(numbered[number] for number in sorted(numbered))


def prepare(plan: Plan, command: Sequence[str], size_limit: int = 0) -> Session | None:
    """Make the workspace of this launch; None if the plan overlays nothing. Raises SandrunError.

    Call it right before the launch: what others change in the directories from now on counts as changed underneath.
    """
    places = directories(plan)
    if not places:
        return None
    store.remove_leftovers()
    session = Session(*store.make(places, command, size_limit), modes=_modes())
    store.await_clock(session.workspace)
    return session


def _modes() -> list[Any]:
    try:
        return termios.tcgetattr(0) if os.isatty(2) else []
    except termios.error:
        return []


def _finish(end: End, verb: str, count: int) -> End:
    workspace = end.workspace
    if verb == "discard":
        store.remove(workspace)
        return end._replace(became=DISCARDED)
    if verb == "commit":
        result = commit(workspace)
        report.say(committed(workspace, result))
        if result.refused:
            return end._replace(result=result, status=end.status or EXIT_LATER_CHECK)
        store.remove(workspace)
        return end._replace(result=result, became=COMMITTED)
    report.say([f"kept: workspace {workspace.id} with {_number(count)}: sandrun workspace diff, commit or discard"])
    return end


def _number(count: int) -> str:
    return "1 change" if count == 1 else f"{count} changes"


def _ask(workspace: Workspace, count: int, modes: list[Any]) -> str:
    """What the user wants; no answer is "keep"."""
    try:
        # By now standard input is no longer ours: the command had it.
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return "keep"
    # The supervisor has all signals blocked; here Ctrl-C is an answer too.
    mask = libc.rt_sigprocmask(libc.SIG_UNBLOCK, libc.signal_bit(libc.SIGINT))
    try:
        # In the background we would be stopped for reading.
        if os.tcgetpgrp(terminal) != os.getpgrp():
            return "keep"
        _take_back(terminal, modes)
        return _answer(terminal, workspace, count)
    except (KeyboardInterrupt, OSError, termios.error):
        return "keep"
    finally:
        libc.rt_sigprocmask(libc.SIG_SETMASK, mask)
        os.close(terminal)


def _take_back(terminal: int, modes: list[Any]) -> None:
    """The command had the terminal: its modes go, and what it typed ahead for us (TIOCSTI, or the user meant for it)."""
    termios.tcsetattr(terminal, termios.TCSANOW, modes)
    termios.tcflow(terminal, termios.TCOON)
    termios.tcflush(terminal, termios.TCIFLUSH)


def _answer(terminal: int, workspace: Workspace, count: int) -> str:
    while True:
        question = f"sandrun: workspace {workspace.id} holds {_number(count)}: commit, discard, keep or list? [keep] "
        os.write(terminal, question.encode())
        answer = os.read(terminal, 4096).decode("utf-8", "replace").strip().lower()
        if answer in ("l", "list"):
            _list(terminal, workspace)
            continue
        words = [word for word in ("commit", "discard", "keep") if answer and word.startswith(answer)]
        return words[0] if len(words) == 1 else "keep"


def _list(terminal: int, workspace: Workspace) -> None:
    from sandrun.workspace.render import title  # noqa: PLC0415 (only if somebody asks)

    for directory, change, upper, _ in all_changes(workspace):
        os.write(terminal, f"  {title(change, directory, upper)}\n".encode())


def all_changes(workspace: Workspace) -> Iterator[tuple[str, Change, Upper, Tree]]:
    """Each change of each overlaid directory, with the two trees it is in. Raises SandrunError."""
    for number, directory in enumerate(workspace.directories):
        try:
            with workspace.upper(number) as upper, workspace.lower(number) as lower:
                for change in changes(upper, lower, workspace.started):
                    yield directory, change, upper, lower
        except OSError as error:
            raise SandrunError(
                f"cannot read workspace {workspace.id}: {error.filename or directory}: {report.reason(error)}"
            ) from None


def committed(workspace: Workspace, result: Result) -> list[str]:
    """What a commit did, in lines."""
    lines = [f"committed: {_number(result.committed)} of workspace {workspace.id}"]
    lines += [f"left out: {os.path.join(left.directory, left.path)}: {left.why}" for left in result.left_out]
    lines += [f"not committed: {os.path.join(left.directory, left.path)}: {left.why}" for left in result.refused]
    if result.refused:
        lines.append("hint: what was not committed is still in the workspace; --force commits over what others changed")
    return lines
