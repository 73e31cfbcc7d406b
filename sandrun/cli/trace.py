"""`sandrun trace`: the system calls of a command and of all that it starts, and which profiles would let them through.

Exit status: the command's own, as of a launch; 125 if it could not be traced.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from sandrun.cli import options
from sandrun.cli import run as runs
from sandrun.cli.record import Record
from sandrun.errors import SandrunError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sandrun.cli.options import Request
    from sandrun.host import Host
    from sandrun.kernel import Kernel
    from sandrun.plan.format import Plan
    from sandrun.trace.session import Session


def main(argv: Sequence[str]) -> int:
    """Do what the words after `sandrun trace` say and return the exit status. Raises click.UsageError, SandrunError."""
    words: Sequence[str] = argv
    command: tuple[str, ...] = ()
    if "--" in argv:
        at = list(argv).index("--")
        words, command = argv[:at], tuple(argv[at + 1 :])
    status = trace.main(args=[*words], prog_name="sandrun trace", standalone_mode=False, obj=command)
    return status if isinstance(status, int) else 0


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("words", metavar="[OPTION]... -- COMMAND [ARGS]...", nargs=-1, type=click.UNPROCESSED)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, as one line.")
@click.pass_obj
def trace(command: tuple[str, ...], words: tuple[str, ...], as_json: bool) -> int:
    """Run COMMAND and print to standard error which system calls it and its descendants made, and what covers them.

    Each OPTION is one of a launch, as -p PROFILE to trace under a profile. Without options of a profile nothing is
    restricted, but an ordinary user can gain no privileges. The exit status is that of a launch.
    """
    if not command:
        raise UsageError("no command given", hint="sandrun trace -- COMMAND")
    request = options.parse([*words, "--", *command])
    if request.command != command:
        raise UsageError(f"not an option: {request.command[0]}", hint="the command stands behind --")
    if request.dry_run or request.explain or request.locked:
        raise UsageError("a trace runs the command, and tells of nothing else", hint="see sandrun trace --help")
    request = request._replace(json=as_json)
    record = Record(request)
    try:
        return _trace(request, record)
    except SandrunError as error:
        record.failed(error)
        raise


def _trace(request: Request, record: Record) -> int:
    from sandrun.host import System  # noqa: PLC0415 (--help does without all this)
    from sandrun.kernel import probe, with_namespaces  # noqa: PLC0415
    from sandrun.trace.session import Session  # noqa: PLC0415

    host, kernel = System(), with_namespaces(probe())
    session = Session(kernel, host, request.command)
    record.explaining = session
    if any((request.profiles, request.overrides, request.replace, request.optional, request.require)):
        return runs.run(request, record)
    return _unrestricted(request, record, session, open_plan(request.command, kernel, host))


def _unrestricted(request: Request, record: Record, session: Session, plan: Plan) -> int:
    """Trace the command as it would run without sandrun."""
    from sandrun import supervise  # noqa: PLC0415
    from sandrun.launch import launch  # noqa: PLC0415
    from sandrun.watch import begin  # noqa: PLC0415

    plan, observer = session.observed(plan)
    watch = begin(plan, verbose=request.verbose, observer=observer)
    child = launch(plan, {}, watch)
    record.started(child)
    return record.ended(supervise.supervise(child, watch, plan))


def open_plan(command: Sequence[str], kernel: Kernel, host: Host) -> Plan:
    """The plan that takes nothing away but what a filter takes: an ordinary user can gain no privileges (seccomp(2)).

    Raises CommandError if the command is not found.
    """
    from sandrun.plan.command import find  # noqa: PLC0415
    from sandrun.plan.format import TTY_INHERIT, Plan  # noqa: PLC0415
    from sandrun.primitives import caps  # noqa: PLC0415

    path = find(command[0], os.environ.get("PATH", os.defpath), host.cwd, host)
    return Plan(
        executable=os.fsencode(path),
        argv=tuple(map(os.fsencode, command)),
        env_pass=tuple(sorted(os.environb)),
        tty=TTY_INHERIT,
        bounding=kernel.capabilities,
        permitted=kernel.capabilities,
        no_new_privs=int(not kernel.capabilities & caps.mask(("CAP_SYS_ADMIN",))),
    )
