"""The sandbox of the log process: it reads and writes what it has open, and does nothing else."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from sandrun.errors import UnsupportedError
from sandrun.plan.draft import Draft, Guard
from sandrun.plan.format import Plan
from sandrun.plan.relay import NEVER, NOBODY, can_be_nobody
from sandrun.plan.syscalls import resolve_syscalls
from sandrun.policy import guards
from sandrun.primitives import landlock
from sandrun.primitives.landlock import NEWEST_ABI
from sandrun.profile.model import Origin, Profile, Value

if TYPE_CHECKING:
    from sandrun.host import Host
    from sandrun.kernel import Kernel

CALLS = (
    *("read", "write", "poll", "ppoll", "close", "exit", "exit_group", "brk", "mmap", "munmap", "mremap", "madvise"),
    *("futex", "rt_sigreturn", "rt_sigaction", "rt_sigprocmask", "restart_syscall", "clock_gettime"),
)
KEY = "syscalls.allow"
RLIMIT_CORE = 4


def log_plan(kernel: Kernel, host: Host) -> Plan:
    """The plan that the log process enters. Raises UnsupportedError where it cannot be had."""
    origin = Origin("builtin:log", KEY)
    draft = Draft(Profile("log", values=MappingProxyType({KEY: tuple(Value(name, origin) for name in CALLS)})))
    abi = min(kernel.landlock_abi, NEWEST_ABI)
    draft.fields.update(
        no_new_privs=1,
        rlimits=((RLIMIT_CORE, 0, 0),),
        landlock_abi=abi,
        landlock_fs=landlock.fs_mask(abi) if abi else 0,
        landlock_net=landlock.net_mask(abi) if abi else 0,
        landlock_scoped=landlock.scope_mask(abi) if abi else 0,
    )
    if can_be_nobody(kernel, host):
        draft.fields.update(uid=NOBODY, gid=NOBODY, set_groups=1, groups=())
    draft.guards.extend(Guard(name, guards.EPERM, KEY) for name in NEVER)
    resolve_syscalls(draft, kernel)
    if draft.problems:
        raise UnsupportedError(draft.problems)
    return Plan(**draft.fields)
