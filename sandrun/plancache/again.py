"""A launch like one before it, by the Python executor and without planning: what the front does, where there is none.

Imported before anything else of sandrun, so it imports little; what is rarely needed is imported where it is.
"""

from __future__ import annotations

import os
import sys

from sandrun import libc, native
from sandrun.errors import SandrunError, StepError
from sandrun.plan.format import FIELDS, Plan, PlanError
from sandrun.plancache import place
from sandrun.plancache.answers import hold

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from sandrun.events import StatusFd

FLAG_EXEC, FLAG_FOOTER = 1, 2
"""As in sandrun/native/handoff.py."""
SIGSYS = 31


def program() -> str:
    """What stands in the key for a Python that looks by itself: which one it is, and where it finds modules."""
    return "\n".join((sys.executable, sys.prefix, str(tuple(sys.flags)), *sys.path))


def launched(words: Sequence[str]) -> int | None:
    """Launch what is kept for these words, and return the exit status; None if nothing is."""
    directory = place.path()
    if not directory or not os.path.isdir(directory):
        return None
    for count in range(1, min(len(words), place.MOST_WORDS) + 1):
        # The command's name, which ends the key, starts with a dash only behind "--".
        if words[count - 1][:1] == "-" and words[max(0, count - 2)] != "--":
            continue
        name = place.key(program(), words[:count])
        parts = place.parse(place.read(directory, name), name) if name else None
        if parts:
            salt, facts, data, values, flags, planned = parts
            if flags & FLAG_EXEC or not hold(facts, salt):
                return None
            try:
                plan = Plan.from_bytes(data)
            except PlanError:
                return None
            argv = tuple(os.fsencode(word) for word in words[count - 1 :])
            plan = Plan(**{field: getattr(plan, field) for field, _, _ in FIELDS} | {"argv": argv})
            return _launch(plan, values, flags, place.status_fd(words), planned)
    return None


def _launch(plan: Plan, values: Sequence[bytes], flags: int, status_fd: str, planned: bytes) -> int | None:
    """As `_supervised` in sandrun/cli/run.py, of a plan that needs nobody beside the supervisor.

    None if there is something wrong with the descriptor for events.
    """
    from sandrun import report, supervise  # noqa: PLC0415 (a launch that is not kept may do without)
    from sandrun.launch import launch  # noqa: PLC0415
    from sandrun.watch import begin  # noqa: PLC0415

    events = None
    if status_fd:
        from sandrun.events import StatusFd  # noqa: PLC0415 (only for programs)

        try:
            events = StatusFd(status_fd)
        except SandrunError:
            return None
        if events.fd in plan.pass_fds:
            return None
    mask = libc.rt_sigprocmask(libc.SIG_BLOCK, 0)
    try:
        watch = begin(plan)
        child = launch(plan, dict(zip(plan.env_set, values, strict=True)), watch)
    except SandrunError as error:
        if isinstance(error, StepError) and error.step != "execute":
            _start_again("again", mask, events)  # it does not, where this program may not be found again
        if events:
            events.failed(error)
        if not events or flags & FLAG_FOOTER:
            report.say(error.lines())
        return error.status
    if events:
        events.write(planned)
        events.send("exec", pid=child.pid)
    outcome = supervise.supervise(child, watch, plan)
    report.say(report.ending(outcome))
    status = report.status(outcome)
    if events:
        events.ended(outcome, status)
    if status and flags & FLAG_FOOTER and os.isatty(2):
        _start_again(f"after:{status}", mask, events)
    return status


def _start_again(words: str, mask: int, events: StatusFd | None) -> None:
    """Have this program do the rest in full, which knows what may be wrong and has the words for it."""
    from sandrun.native.said import tell  # noqa: PLC0415 (few launches need it)

    argv = native.again()
    if argv and tell(words):
        libc.rt_sigprocmask(libc.SIG_SETMASK, mask)
        if events:
            os.set_inheritable(events.fd, True)
        os.execv(argv[0], argv)  # noqa: S606 (no shell is wanted)
