"""A launch from the plan cache, executed by Python: by its executor, or by its supervisor, which some plans take.

The front finds and checks it (front.c), and leaves it by a sealed memfd (`said.heard`): a line `EXECUTOR:WORD:FD`, which
executor is asked for, which word is the command's name and the number of `--status-fd` or -1; then the records of the
entry from the plan on. SANDRUN_EXECUTOR is `kept:FD` until that is read. Where there is no front, `again` looks itself.

Imported before anything else of sandrun, so it imports little; what is rarely needed is imported where it is.
"""

from __future__ import annotations

import os
import struct

from sandrun import libc, native
from sandrun.errors import SandrunError, StepError
from sandrun.plan.format import FIELDS, Plan, PlanError
from sandrun.plancache.entry import FLAG_FOOTER, parse_kept

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from sandrun.events import StatusFd
    from sandrun.plancache.entry import Kept


def launched(words: Sequence[str]) -> int | None:
    """Launch what the front has left for these words, and return the exit status; None if that cannot be."""
    from sandrun.native.said import heard  # noqa: PLC0415 (where there is no front, nothing is heard)

    try:
        head, _, records = heard(os.environ[native.VARIABLE].partition(":")[2]).partition(b"\n")
        executor, first, fd = head.decode("ascii").split(":")
        kept = parse_kept(records)
        argv = words[int(first) :]
        status_fd = fd if int(fd) >= 0 else ""
    except (ValueError, struct.error):
        return None  # the variable stays as it is, and who reads it next has the words
    if executor:
        os.environ[native.VARIABLE] = executor
    else:
        del os.environ[native.VARIABLE]
    return launch(kept, argv, status_fd)


def launch(kept: Kept, argv: Sequence[str], status_fd: str) -> int | None:
    """Launch this for the command `argv`, as `_supervised` in sandrun/cli/run.py; None if nothing was done.

    A plan is kept only if nobody but the relay has to stand beside its supervisor.
    """
    from sandrun import report, supervise  # noqa: PLC0415 (a launch that is not kept may do without)
    from sandrun.launch import launch as start  # noqa: PLC0415
    from sandrun.watch import begin  # noqa: PLC0415

    data, values, flags, planned = kept
    try:
        plan = Plan.from_bytes(data)
    except PlanError:
        return None
    named = {"argv": tuple(os.fsencode(word) for word in argv)}
    plan = Plan(**{field: getattr(plan, field) for field, _, _ in FIELDS} | named)
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
        child = start(plan, dict(zip(plan.env_set, values, strict=True)), watch)
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
