"""The relay gives up what it does not need, by a plan of its own, before it serves anybody.

What `steps` does for a command between fork and execve, here for the running process: everything is imported and every
socket of the namespaces is at hand by then.
"""

from __future__ import annotations

import os
import resource
from typing import TYPE_CHECKING

from sandrun import libc
from sandrun.primitives import capset, ids, landlock, rlimits

if TYPE_CHECKING:
    from sandrun.plan.format import Plan


def harden() -> None:
    """First of all: nobody of the same user looks into this process, and it ends with its supervisor. Raises OSError."""
    libc.rt_sigprocmask(libc.SIG_SETMASK, libc.ALL_SIGNALS)
    libc.prctl(libc.PR_SET_DUMPABLE, 0)
    libc.prctl(libc.PR_SET_PDEATHSIG, libc.SIGKILL)


def raise_descriptors() -> int:
    """As many descriptors as may be had (RLIMIT_NOFILE). Returns how many that are."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most if most != resource.RLIM_INFINITY else 1 << 20


def confine(plan: Plan, *, keep_ids: bool = False) -> None:
    """Enter the plan. Irreversible. Raises OSError or SandrunError; then the process must end.

    `keep_ids`: in a user namespace that does not know the plan's ids, and where there is no capability to be lost that
    counts outside.
    """
    filters = [libc.SockFprog(program) for program in plan.seccomp]
    ruleset_fd = landlock.create(plan)
    prepared = capset.Prepared(plan)
    for number in prepared.drop:
        capset.drop_bounding(number)
    if not keep_ids:
        ids.check(plan)
        ids.set_groups(plan)
        ids.set_gid(plan)
        if prepared.keepcaps:
            capset.set_attribute(libc.PR_SET_KEEPCAPS, 1)
        ids.set_uid(plan)
    capset.apply(prepared)
    capset.verify(prepared)
    if not keep_ids:
        ids.verify(plan)
    harden()  # once more: a change of ids takes both away (prctl(2))
    for limit in rlimits.prepare(plan):
        rlimits.set_limit(limit)
    if plan.no_new_privs:
        capset.set_attribute(libc.PR_SET_NO_NEW_PRIVS, 1)
    if ruleset_fd >= 0:
        landlock.restrict_self(ruleset_fd, plan.landlock_flags)
        os.close(ruleset_fd)
    for program in filters:
        libc.seccomp(libc.SECCOMP_SET_MODE_FILTER, plan.seccomp_flags, program)
