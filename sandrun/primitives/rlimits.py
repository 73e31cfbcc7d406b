"""Resource limits of setrlimit(2). LIGHT. A limit is only ever lowered."""

from __future__ import annotations

import resource

from sandrun.plan.format import UNLIMITED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sandrun.plan.format import Plan

Limit = tuple[int, tuple[int, int]]


def prepare(plan: Plan) -> tuple[Limit, ...]:
    """The limits to set, each clamped to what is in force now: raising one is never what a sandbox is asked for."""
    limits = []
    for number, soft, hard in plan.rlimits:
        now, most = map(_unsigned, resource.getrlimit(number))
        lowest = min(hard, most)
        # One byte of core dump is none, and stops those that go to a program, which 0 does not (core(5)).
        none = 1 if number == resource.RLIMIT_CORE and soft == 1 else 0
        limits.append((number, (_signed(min(soft, max(now, none), lowest)), _signed(lowest))))
    return tuple(limits)


def set_limit(limit: Limit) -> None:
    """Set one limit, in the child. Irreversible without CAP_SYS_RESOURCE."""
    resource.setrlimit(*limit)


def _unsigned(value: int) -> int:
    return UNLIMITED if value == resource.RLIM_INFINITY else value


def _signed(value: int) -> int:
    """The module `resource` writes RLIM_INFINITY as -1 and takes no number above 2**63 - 1."""
    return resource.RLIM_INFINITY if value >= 2**63 - 1 else value
