"""alone: execute a Plan in this very process, which becomes the command. Nobody stays to supervise it.

LIGHT. What only a supervisor can promise is refused: an end of all that the command started, a timeout, anything that is
to be removed or told afterwards, and namespaces that only a child can enter.
"""

from __future__ import annotations

from sandrun import failure, launch, libc, places, steps
from sandrun.errors import SandrunError
from sandrun.plan.format import CGROUP_NONE, TTY_NEW_SESSION, TTY_PTY
from sandrun.primitives import view
from sandrun.watch import KEPT_IGNORED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import NoReturn

    from sandrun.connector import Broker
    from sandrun.observe.observer import Observer
    from sandrun.plan.format import Plan
    from sandrun.primitives.cgroup import Group
    from sandrun.relaying import Relay


class Alone:
    """What there is to decide without a supervisor: nothing but which signals stay ignored."""

    new_session = own_group = foreground = False
    terminal = held = -1
    group: Group | None = None
    relay: Relay | None = None
    broker: Broker | Observer | None = None

    def __init__(self) -> None:
        self.ignored = sum(libc.signal_bit(signal) for signal in KEPT_IGNORED if libc.is_ignored(signal))


def check(plan: Plan) -> None:
    """Raise SandrunError if this plan takes a supervisor, naming the keys that ask for one."""
    asked = (
        (plan.namespaces & libc.CLONE_NEWPID, "a pid namespace (process.isolate, filesystem.proc)"),
        (plan.namespaces & libc.CLONE_NEWTIME, "a time namespace (process.namespaces)"),
        (plan.id_helpers or plan.dynamic, "a user of its own (privileges.user)"),
        (plan.tty in (TTY_NEW_SESSION, TTY_PTY), "another terminal (process.tty)"),
        (plan.deadline_ms >= 0, "a timeout (time.timeout)"),
        (plan.private_dirs, "directories to be removed (filesystem.tmp, filesystem.home)"),
        (any(record[0] == view.VIEW_OVERLAY for record in plan.view), "changes set aside (filesystem.overlay)"),
        (plan.egress or plan.publish or plan.broker_filter, "connections made for the command (network.connect)"),
        (plan.cgroup_way != CGROUP_NONE, "a control group (resources)"),
    )
    reasons = [reason for is_asked, reason in asked if is_asked]
    if reasons:
        raise SandrunError(
            f"cannot do without a supervisor: {', '.join(reasons)}",
            hint="leave out --exec, or what asks for this: --isolate signals does without a pid namespace",
        )


def become(plan: Plan, values: Mapping[bytes, bytes]) -> NoReturn:
    """Execute the plan's command in the place of this process.

    Returns only by raising CommandError, StepError or SandrunError. From the first step on this process is confined by
    halves, and may not even be able to import a module.
    """
    places.check(plan)
    places.create_targets(plan)
    environment = launch.environment_vector(plan, values, ())
    made = view.View(plan, (), ()) if plan.view else None
    job = steps.Job(plan, Alone(), environment, (), made, [])
    number = steps.take(job)
    if job.at == len(steps.CHILD_STEPS) - 1 and number > 0:
        raise failure.cannot_execute(plan, number)
    raise failure.step_failed(plan, steps.CHILD_STEPS[job.at][0], number, job.argument)
