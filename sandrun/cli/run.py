"""A launch: the words of the command line → profile → plan → child → outcome → exit status."""

from __future__ import annotations

import os

from sandrun import native, report
from sandrun.cli import options
from sandrun.cli.record import Record
from sandrun.errors import SandrunError, StepError
from sandrun.events import StatusFd
from sandrun.named import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sandrun.cli.options import Request
    from sandrun.host import Host
    from sandrun.kernel import Kernel
    from sandrun.observe.observer import Observer
    from sandrun.plan.format import Plan
    from sandrun.plan.resolve import Resolution
    from sandrun.plancache.keep import Recording
    from sandrun.profile.model import Profile
    from sandrun.workspace.launch import Session


class Prepared(NamedTuple):
    """What the options mean here: the profile, this kernel, and the plan.

    `assumed`: that the namespaces can be had is a guess. A launch makes each that its plan has, or fails.
    """

    profile: Profile
    kernel: Kernel
    resolution: Resolution
    assumed: bool = False


def main(argv: Sequence[str], executor: native.Executor = native.PYTHON) -> int:
    """Read the command line, do what it says, and return the exit status. Raises SandrunError.

    Unless the executor is Python's, this process may become the native one's, and never return.
    """
    try:
        request = options.parse(argv)
    except SandrunError as error:
        _tell_where_asked(argv, error)
        raise
    if request.help:
        from sandrun.cli.help import help_text  # noqa: PLC0415

        report.emit(help_text())
        return 0
    if request.version:
        from sandrun import __version__  # noqa: PLC0415

        report.emit(f"sandrun {__version__}\n")
        return 0
    if executor.after is not None:
        return _explained(request, executor.after)
    record = Record(request, told=executor.told)
    try:
        return run(request, record, executor=executor, argv=argv, recording=_recording(argv, request, executor))
    except SandrunError as error:
        record.failed(error)
        raise


def _tell_where_asked(argv: Sequence[str], error: SandrunError) -> None:
    """Send that the command line is wrong, if it begins with where to."""
    from sandrun.plancache.place import status_fd  # noqa: PLC0415 (only of a wrong command line)

    words = argv[: argv.index("--")] if "--" in argv else argv
    try:
        events = StatusFd(status_fd(argv))
    except SandrunError:
        return  # the first mistake is the one that is told
    events.failed(error)
    error.told = events.fd >= 0 and ("-q" in words or "--quiet" in words)


def run(
    request: Request,
    record: Record,
    profile: Profile | None = None,
    *,
    executor: native.Executor = native.PYTHON,
    argv: Sequence[str] = (),
    recording: Recording | None = None,
) -> int:
    """The way of a launch from its options to its exit status; `--dry-run` leaves it once the plan is made.

    `profile` takes the place of what the options mean. `argv` is what this process was started with, where it may be
    replaced by the native executor. `recording` is kept for the next launch like this one, if it can be.
    """
    from sandrun.plan import environment  # noqa: PLC0415 (what a wrong command line does without is imported here)

    profile = profile or load_profile(request, recording)
    if not request.dry_run and any(key.startswith("broker.") for key in profile.values):
        from sandrun.brokered import session as broker  # noqa: PLC0415 (few launches need it)

        record.brokered = broker.begin(profile, request)
        profile = record.brokered.profile
    is_final = request.dry_run or request.explain or request.exec or record.explaining is not None
    prepared = prepare(request, request.command, assume=not is_final, profile=profile, recording=recording)
    prepared = prepared._replace(resolution=_holding(prepared.resolution, record.hold))
    profile, resolution = prepared.profile, prepared.resolution
    if request.locked:
        from sandrun.lock.hold import hold  # noqa: PLC0415 (few launches need it)

        record.held = hold(profile, request.profiles, explained=request.explain)
    record.planned(profile, resolution)
    if request.dry_run:
        return record.shown()
    if record.brokered:
        record.brokered.check(resolution, prepared.kernel)

    plan = resolution.plan
    values = environment.values(profile, resolution.account)
    if request.exec:
        from sandrun import alone  # noqa: PLC0415 (few launches need it)

        alone.check(plan)
    if not record.brokered:
        _natively(prepared, values, record, executor, argv, recording)
    if request.exec:
        return _become(plan, values)
    return _supervised(prepared, request, record)


def _holding(resolution: Resolution, hold: tuple[int, ...]) -> Resolution:
    """The same where the command waits once all is in force, as `--hold` says."""
    if not hold:
        return resolution
    from sandrun.plan.format import FIELDS, Plan  # noqa: PLC0415 (few launches need it)

    fields = {name: getattr(resolution.plan, name) for name, _, _ in FIELDS}
    return resolution._replace(plan=Plan(**fields | {"hold": hold}))


def load_profile(request: Request, recording: Recording | None = None) -> Profile:
    """The profile that the options mean. Raises ProfileError."""
    from sandrun.profile import load  # noqa: PLC0415 (what a wrong command line does without is imported here)

    return load(
        request.profiles,
        request.overrides,
        replace=request.replace,
        optional=request.optional,
        require=request.require,
        seen=recording.profiles if recording else None,
    )


def _become(plan: Plan, values: Mapping[bytes, bytes]) -> int:
    """Become the command; the exit status if it cannot be executed.

    What went wrong is said here: nothing that is not imported by now may be within reach of a process so confined.
    """
    from sandrun.alone import become  # noqa: PLC0415 (few launches need it)

    try:
        become(plan, values)
    except SandrunError as error:
        report.say(error.lines())
        return error.status


def _supervised(prepared: Prepared, request: Request, record: Record) -> int:
    """Launch the command from this process, supervise it, and return the exit status."""
    from sandrun import supervise  # noqa: PLC0415 (what the native executor does without is imported here)
    from sandrun.launch import launch  # noqa: PLC0415
    from sandrun.plan import environment  # noqa: PLC0415
    from sandrun.watch import begin  # noqa: PLC0415

    profile, plan = prepared.profile, prepared.resolution.plan
    values = environment.values(profile, prepared.resolution.account)
    claim = None
    if plan.dynamic:
        from sandrun import accounts  # noqa: PLC0415 (few launches need it)

        claim = accounts.claim()
        plan = claim.apply(plan)
    session = _workspace(plan, request)
    try:
        plan, observer = _observed(plan, prepared, request, record)
        watch = begin(plan, verbose=request.verbose, observer=observer)
        if claim:
            watch.held = claim.descriptor
        try:
            child = launch(plan, values, watch, session.overlays if session else ())
        except StepError as error:
            better = _found_out(prepared, request.command, error)
            if not better:
                raise
            better = _holding(better, record.hold)
            record.planned(profile, better)
            plan = better.plan
            watch = begin(plan, verbose=request.verbose)
            child = launch(plan, environment.values(profile, better.account), watch)
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
    status = record.ended(outcome, session, child.private)
    if status and not (record.explaining or request.quiet) and os.isatty(2):
        report.say(_footer(prepared, request, record))
    return status


def _recording(argv: Sequence[str], request: Request, executor: native.Executor) -> Recording | None:
    """What writes down what this launch is made from, if the next one like it may find it in the plan cache."""
    from sandrun.plancache import keep  # noqa: PLC0415 (what a wrong command line does without is imported here)

    if executor.told is not None or executor.again or executor.died:
        keep.forget(argv, request)  # it may be there, and could not be launched
        return None
    return keep.begin(argv, request, executor.name) if executor.name != "native" else None


def _natively(
    prepared: Prepared,
    values: Mapping[bytes, bytes],
    record: Record,
    executor: native.Executor,
    argv: Sequence[str],
    recording: Recording | None,
) -> None:
    """Become the native executor, which does not return, if it serves this plan.

    Raises SandrunError if that was tried, and the command may have run.
    """
    if executor.died:
        from sandrun import failure  # noqa: PLC0415 (only after a failure)

        raise failure.died(prepared.resolution.plan, executor.died)
    if recording:
        recording.keep(prepared.profile, prepared.kernel, prepared.resolution, record.request)
    if executor.name != "python":
        from sandrun.native.handoff import hand_over  # noqa: PLC0415

        hand_over(prepared.resolution.plan, values, record, executor, argv)


def _explained(request: Request, status: int) -> int:
    """Say on a terminal what may have been the reason of a run that the native executor has brought to its end."""
    record = Record(request._replace(status_fd="", report=""))
    try:
        prepared = prepare(request, request.command, assume=True)
        report.say(_footer(prepared, request, record))
    except SandrunError:
        return status  # what there was to see is gone
    return status


def _footer(prepared: Prepared, request: Request, record: Record) -> list[str]:
    """What somebody who looks on should know of a run that failed; programs have the report."""
    from sandrun.explain.footer import footer  # noqa: PLC0415 (only after a failure)
    from sandrun.host import System  # noqa: PLC0415
    from sandrun.why.ways import ways  # noqa: PLC0415

    resolution = record.resolution or prepared.resolution
    return footer(prepared.profile, resolution, prepared.kernel, System(), ways(request.profiles))


def _observed(plan: Plan, prepared: Prepared, request: Request, record: Record) -> tuple[Plan, Observer | None]:
    """The plan to launch, and who observes the command, if anything is to be told of it."""
    if request.explain:
        from sandrun.explain.session import Session as Explaining  # noqa: PLC0415 (few launches need it)
        from sandrun.host import System  # noqa: PLC0415
        from sandrun.why.ways import ways  # noqa: PLC0415

        profile, kernel, resolution, _ = prepared
        record.explaining = Explaining(profile, resolution, kernel, System(), ways(request.profiles))
    return record.explaining.observed(plan) if record.explaining else (plan, None)


def _workspace(plan: Plan, request: Request) -> Session | None:
    """Where the changes of overlaid directories go, if there are any."""
    from sandrun.primitives.view import VIEW_OVERLAY  # noqa: PLC0415

    if all(operation != VIEW_OVERLAY for operation, _, _, _ in plan.view):
        return None
    from sandrun.workspace import launch as workspace  # noqa: PLC0415 (few launches need it)

    return workspace.prepare(plan, request.command, request.overlay_size)


def prepare(
    request: Request,
    command: Sequence[str],
    *,
    assume: bool = False,
    profile: Profile | None = None,
    abi: int | None = None,
    recording: Recording | None = None,
) -> Prepared:
    """What the options mean here, for `command`; or what `profile` does. Raises SandrunError.

    `abi`: as if the kernel had this one of Landlock. `recording`: writes down what is asked of the machine.

    `assume`: do not try namespaces, 4 ms, if the launch itself may find out: if it makes nothing of the host's before it
    makes them. Its plan is then of a kernel that has them all.
    """
    from sandrun.kernel import assume_namespaces, probe, with_broker, with_cgroup, with_landlock, with_namespaces  # noqa: PLC0415
    from sandrun.plan import egress, namespaces  # noqa: PLC0415
    from sandrun.plan.shown import view_wanted  # noqa: PLC0415

    profile = profile or load_profile(request, recording)
    host = recording.host if recording else None
    kernel = probe() if abi is None else with_landlock(probe(), abi)
    if any(key.startswith("resources.") for key in profile.values):
        kernel = with_cgroup(kernel)
    if namespaces.wanted(profile) or view_wanted(profile):
        user = namespaces.wants_user(profile)
        guess = assume_namespaces(kernel) if assume and not user and not profile.require else None
        resolution = _resolve_guess(profile, guess, command, host) if guess else None
        if guess and resolution and _may_fail(resolution.plan):
            return Prepared(profile, guess, resolution, assumed=True)
        kernel = with_namespaces(kernel, user=user)
        if resolution and kernel == guess:
            return Prepared(profile, kernel, resolution)
        if egress.wanted(profile) and not (kernel.netns and kernel.mountns):
            kernel = with_broker(kernel)
    if profile.require:
        from sandrun.doctor.probes import with_facts  # noqa: PLC0415

        kernel = with_facts(kernel, profile.require)
    return Prepared(profile, kernel, _resolve(profile, kernel, command, host))


def _resolve(profile: Profile, kernel: Kernel, command: Sequence[str], host: Host | None = None) -> Resolution:
    from sandrun.host import System  # noqa: PLC0415 (what a wrong command line does without is imported here)
    from sandrun.plan.resolve import resolve  # noqa: PLC0415

    return resolve(profile, kernel, host or System(), command)


def _resolve_guess(
    profile: Profile, guess: Kernel, command: Sequence[str], host: Host | None = None
) -> Resolution | None:
    """The plan for a guess; None if there is none, since the reason is to be that of the kernel as it is."""
    try:
        return _resolve(profile, guess, command, host)
    except SandrunError:
        return None


def _may_fail(plan: Plan) -> bool:
    """Whether a launch of this plan that fails takes all back that it made, so that another can follow in this process.

    Without a mount namespace the supervisor itself enters a Landlock domain, in which no mount could be tried any more.
    """
    from sandrun import libc  # noqa: PLC0415
    from sandrun.plan.format import CGROUP_NONE, TTY_PTY  # noqa: PLC0415
    from sandrun.primitives.view import VIEW_OVERLAY  # noqa: PLC0415

    return (
        bool(plan.namespaces & libc.CLONE_NEWNS)
        and plan.cgroup_way == CGROUP_NONE
        and plan.tty != TTY_PTY
        and not any((plan.dynamic, plan.create, plan.egress, plan.publish, plan.id_helpers))
        and all(operation != VIEW_OVERLAY for operation, _, _, _ in plan.view)
    )


def _found_out(prepared: Prepared, command: Sequence[str], error: StepError) -> Resolution | None:
    """The plan for what this kernel has, after a launch that failed; None if nothing else was assumed.

    Also None if the last step failed: what is taken for a command that did not run must never be run a second time.
    Raises SandrunError if the profile cannot be kept.
    """
    if not prepared.assumed or error.step == "execute":
        return None
    from sandrun import libc  # noqa: PLC0415
    from sandrun.kernel import with_namespaces  # noqa: PLC0415

    # As at the first time: a process that is not dumpable may not read its own /proc. Nothing of the command lives.
    libc.prctl(libc.PR_SET_DUMPABLE, 1)
    kernel = with_namespaces(prepared.kernel)
    return None if kernel == prepared.kernel else _resolve(prepared.profile, kernel, command)
