"""Hand a resolved plan over to the native executor, which takes the place of this process.

The launch goes with it as a document in a sealed memfd: `SRLAUNCH`, then little-endian records `tag:u16 length:u32
payload` as in a plan, tags from 0: the numbers (u64: version, flags and in the upper half the sum of what was told,
descriptor of --status-fd, directory of --report; all ones for none), the plan, the values of `env_set` (a list), name and
temporary name of the report, its pieces (a list). The words that execute Python again come as arguments. What the caller
passes to the command comes by the environment.
"""

from __future__ import annotations

import os
import struct
import sys

from sandrun import native, places, report
from sandrun.errors import SandrunError
from sandrun.plan.format import CGROUP_NONE, TTY_PTY
from sandrun.plancache.entry import FLAG_EXEC, FLAG_FOOTER
from sandrun.primitives import fds
from sandrun.primitives.view import VIEW_OVERLAY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from sandrun.cli.record import Record
    from sandrun.plan.format import Plan

MAGIC = b"SRLAUNCH"
VERSION = 1
NONE = 2**64 - 1
FLAG_TOLD = 4
"""Besides those of an entry of the plan cache."""
GAPS = ("how", "status", "signal", "wall", "user", "system", "max_rss", "killed", "survivors", "left")
"""What the native executor fills into the `outcome` of a report, in its order."""
_RELAY = ("egress", "publish")
_PYTHON_ONLY = ("dynamic", "broker_filter", "observe", "id_helpers", "apparmor", "selinux")


def serves(plan: Plan) -> bool:
    """Whether the native executor can do all that is in this plan."""
    return is_plain(plan) and not any(getattr(plan, name) for name in _RELAY)


def is_plain(plan: Plan) -> bool:
    """Whether nobody, or the relay alone, has to stand beside a supervisor of this plan."""
    return (
        not any(getattr(plan, name) for name in _PYTHON_ONLY)
        and plan.cgroup_way == CGROUP_NONE
        and plan.tty != TTY_PTY
        and all(operation != VIEW_OVERLAY for operation, _, _, _ in plan.view)
    )


def hand_over(
    plan: Plan, values: Mapping[bytes, bytes], record: Record, executor: native.Executor, argv: Sequence[str]
) -> None:
    """Execute this plan natively. Returns only if this process is to do it.

    `argv` is the command line after `sandrun`. Raises SandrunError for what the caller got wrong, and if the native
    executor was asked for and is not there.
    """
    # Only if this process is nothing but this program: else it must not be replaced.
    words = native.again() if argv and list(argv) == sys.orig_argv[-len(argv) :] else ()
    request = record.request
    told_more = request.locked or request.explain or record.explaining
    if executor.name == "python" or not words or told_more or not serves(plan):
        return
    if not os.access(native.BINARY, os.X_OK):
        _missing(executor, "it is not there, or not executable")
        return
    places.check(plan)
    places.create_targets(plan)
    inherited = [fd for fd in (record.events.fd, record.file.directory, *plan.hold) if fd >= 0]
    try:
        document = fds.sealed("sandrun-launch", _document(plan, values, record))
    except OSError as error:
        _missing(executor, report.reason(error))
        return
    try:
        for fd in (document, *inherited):
            os.set_inheritable(fd, True)
        os.execv(native.BINARY, ("sandrun-exec", str(document), *words))  # noqa: S606 (that is the point)
    except OSError as error:
        _missing(executor, report.reason(error))
    finally:
        os.close(document)
        for fd in inherited:
            os.set_inheritable(fd, False)


def _missing(executor: native.Executor, why: str) -> None:
    if executor.name == "native":
        raise SandrunError(
            f"cannot use the native executor: {native.BINARY}: {why}", hint=f"without {native.VARIABLE}, Python serves"
        )


def _document(plan: Plan, values: Mapping[bytes, bytes], record: Record) -> bytes:
    request, events, file = record.request, record.events, record.file
    flags = FLAG_TOLD | FLAG_EXEC * request.exec | FLAG_FOOTER * (not request.quiet) | record.sum() << 32
    numbers = (VERSION, flags, *(fd if fd >= 0 else NONE for fd in (events.fd, file.directory)))
    records = [
        struct.pack("<4Q", *numbers),
        plan.to_bytes(),
        _strings(values[name] for name in plan.env_set),
        *((os.fsencode(file.name), os.fsencode(file.temporary)) if file.path else (b"", b"")),
        _strings(_pieces(record)),
    ]
    return MAGIC + b"".join(struct.pack("<HI", tag, len(data)) + data for tag, data in enumerate(records))


def _strings(items: Iterable[bytes]) -> bytes:
    return b"".join(struct.pack("<I", len(item)) + item for item in items)


def _pieces(record: Record) -> list[bytes]:
    """The report of a run that ended, cut at what is not known yet; then what a message and `left` are made of."""
    if not record.file.path:
        return []
    import json  # noqa: PLC0415 (only for a report)

    mark = os.urandom(16).hex()
    document: dict[str, Any] = report.run_document(
        record.request.command,
        0,
        resolution=record.resolution,
        outcome=_nothing(),
        plan=record.plan_document(),
    )
    document["status"] = mark
    document["outcome"].update(dict.fromkeys(GAPS, mark))
    pieces = report.to_json(document, indent=2).split(f'"{mark}"')
    place = json.dumps(os.fsdecode(places.private_base() + b"/sandrun"))[:-1]
    return [piece.encode() for piece in (*pieces, place, report.printable(record.file.path))]


def _nothing() -> Any:
    """The outcome of a command that did nothing: only the names of its fields count."""
    from sandrun.supervise import Outcome  # noqa: PLC0415 (only for a report)

    zeros = dict.fromkeys(("status", "signal", "max_rss", "killed"), 0) | dict.fromkeys(("wall", "user", "system"), 0.0)
    return Outcome(started=True, timed_out=False, survivors=(), left=(), network=None, resources=None, **zeros)
