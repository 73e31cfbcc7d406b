"""A launch: the words of the command line → profile → plan → child → outcome → exit status."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandrun import report
from sandrun.cli import options
from sandrun.cli.record import Record
from sandrun.errors import SandrunError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sandrun.cli.options import Request
    from sandrun.kernel import Kernel
    from sandrun.plan.format import Plan
    from sandrun.plan.resolve import Resolution
    from sandrun.profile.model import Profile
    from sandrun.workspace.launch import Session


def main(argv: Sequence[str]) -> int:
    """Read the command line, do what it says, and return the exit status. Raises SandrunError."""
    request = options.parse(argv)
    if request.help:
        report.emit(options.help_text())
        return 0
    if request.version:
        from sandrun import __version__  # noqa: PLC0415

        report.emit(f"sandrun {__version__}\n")
        return 0
    record = Record(request)
    try:
        return run(request, record)
    except SandrunError as error:
        record.failed(error)
        raise


def run(request: Request, record: Record) -> int:
    """The way of a launch from its options to its exit status; `--dry-run` leaves it once the plan is made."""
    from sandrun.plan import environment  # noqa: PLC0415 (what a wrong command line does without is imported here)

    profile, _, resolution = prepare(request, request.command)
    record.planned(profile, resolution)
    if request.dry_run:
        return record.shown()

    from sandrun import supervise  # noqa: PLC0415
    from sandrun.launch import launch  # noqa: PLC0415

    plan = resolution.plan
    values = environment.values(profile, resolution.account)
    claim = None
    if plan.dynamic:
        from sandrun import accounts  # noqa: PLC0415 (few launches need it)

        claim = accounts.claim()
        plan = claim.apply(plan)
    session = _workspace(plan, request)
    try:
        watch = supervise.prepare(plan)
        if claim:
            watch.held = claim.descriptor
        child = launch(plan, values, watch, session.overlays if session else ())
    except BaseException:
        if session:
            session.abandon()
        raise
    else:
        record.started(child)
        outcome = supervise.supervise(child, watch, plan)
    finally:
        if claim:
            claim.release()
    return record.ended(outcome, session)


def _workspace(plan: Plan, request: Request) -> Session | None:
    """Where the changes of overlaid directories go, if there are any."""
    from sandrun.primitives.view import VIEW_OVERLAY  # noqa: PLC0415

    if all(operation != VIEW_OVERLAY for operation, _, _, _ in plan.view):
        return None
    from sandrun.workspace import launch as workspace  # noqa: PLC0415 (few launches need it)

    return workspace.prepare(plan, request.command, request.overlay_size)


def prepare(request: Request, command: Sequence[str]) -> tuple[Profile, Kernel, Resolution]:
    """What the options mean here: the profile, this kernel, and the plan for `command`. Raises SandrunError."""
    from sandrun.host import System  # noqa: PLC0415 (what a wrong command line does without is imported here)
    from sandrun.kernel import probe, with_cgroup, with_namespaces  # noqa: PLC0415
    from sandrun.plan import namespaces  # noqa: PLC0415
    from sandrun.plan.filesystem import view_wanted  # noqa: PLC0415
    from sandrun.plan.resolve import resolve  # noqa: PLC0415
    from sandrun.profile import load  # noqa: PLC0415

    profile = load(
        request.profiles,
        request.overrides,
        replace=request.replace,
        optional=request.optional,
        require=request.require,
    )
    kernel = probe()
    if namespaces.wanted(profile) or view_wanted(profile):
        kernel = with_namespaces(kernel, user=namespaces.wants_user(profile))
    if profile.require:
        from sandrun.doctor.probes import with_facts  # noqa: PLC0415

        kernel = with_facts(kernel, profile.require)
    if any(key.startswith("resources.") for key in profile.values):
        kernel = with_cgroup(kernel)
    return profile, kernel, resolve(profile, kernel, System(), command)
