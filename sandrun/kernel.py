"""Kernel: the facts of this kernel and this process that a plan depends on, and `probe()`, which finds them.

Facts are probed by doing, not read off version numbers: under AppArmor or an outer sandbox a call exists and still
fails. `plan.resolve` takes a Kernel as a parameter, so that every kernel can be planned for on one machine.
"""

from __future__ import annotations

import os
import sys
from typing import NamedTuple

from sandrun import libc
from sandrun.primitives import cgroup_probe, landlock_names

ACTIONS_AVAILABLE = "/proc/sys/kernel/seccomp/actions_avail"
LAST_CAP = "/proc/sys/kernel/cap_last_cap"
NEWEST_KNOWN_CAP = 40
PROBED = ("cgroup", "mountns", "netns", "pidns", "userns")
"""Facts that take a process of their own to find; `probes` finds those that are asked for."""
SECCOMP_ACTIONS = frozenset({"kill_process", "kill_thread", "trap", "errno", "user_notif", "trace", "log", "allow"})
"""Those of Linux 5.0 and newer, where /proc cannot be asked; Landlock came with 5.13."""
SECCOMP_RET_ERRNO = (0x00050000).to_bytes(4, sys.byteorder)
"""The action that every filter needs, as seccomp(2) takes it for SECCOMP_GET_ACTION_AVAIL."""


class Kernel(NamedTuple):
    """What can be had here.

    `landlock_abi` is 0 where there is none; `landlock_state` is "available", "disabled" (EOPNOTSUPP: not in the LSM
    list), "missing" (ENOSYS) or "refused" (an outer filter). `capabilities` is the effective set as a mask. `probed` has
    the facts of PROBED that were looked for. The namespaces are those that this process can make and use: `mountns` with a
    mount in it, `pidns` with its own proc(5); `namespace_reason` says why one is missing, and what to do.
    """

    arch: str = "x86_64"
    release: str = ""
    landlock_abi: int = 0
    landlock_state: str = "missing"
    seccomp_filter: bool = True
    seccomp_actions: frozenset[str] = frozenset()
    last_cap: int = NEWEST_KNOWN_CAP
    capabilities: int = 0
    uid: int = 0
    probed: tuple[tuple[str, int | bool], ...] = ()
    userns: bool = False
    mountns: bool = False
    pidns: bool = False
    ipcns: bool = False
    netns: bool = False
    utsns: bool = False
    cgroupns: bool = False
    timens: bool = False
    namespace_reason: str = ""
    cgroup: cgroup_probe.Cgroup = cgroup_probe.Cgroup()

    @property
    def is_root(self) -> bool:
        return self.uid == 0


def probe() -> Kernel:
    """Ask this kernel, with the few calls that a launch can afford; `doctor` asks for more."""
    system = os.uname()
    landlock = landlock_names.probe()
    actions = _actions()
    return Kernel(
        arch=system.machine,
        release=system.release,
        landlock_abi=landlock.abi,
        landlock_state=landlock.state,
        seccomp_filter=bool(actions),
        seccomp_actions=actions,
        last_cap=_last_cap(),
        capabilities=libc.capget()[0],
        uid=os.geteuid(),
    )


def with_cgroup(kernel: Kernel) -> Kernel:
    """`kernel` with what is known of control groups; some calls more, for profiles that limit resources."""
    return kernel._replace(cgroup=cgroup_probe.probe())


def names(kernel: Kernel) -> dict[str, int | bool]:
    """The facts that a profile's `require` may ask for, by the names that `sandrun doctor` prints.

    A fact of PROBED that nobody looked for is False: a requirement then fails, which is the safe side.
    """
    return {
        **dict.fromkeys(PROBED, False),
        **dict(kernel.probed),
        "landlock": kernel.landlock_abi,
        "root": kernel.is_root,
        "seccomp": kernel.seccomp_filter,
    }


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return file.read()
    except OSError:
        return ""


def _actions() -> frozenset[str]:
    """The actions of seccomp(2) that a filter may return here; none if filters cannot be had."""
    try:
        libc.seccomp(libc.SECCOMP_GET_ACTION_AVAIL, 0, SECCOMP_RET_ERRNO)
    except OSError:
        return frozenset()
    return frozenset(_read(ACTIONS_AVAILABLE).split()) or SECCOMP_ACTIONS


def _last_cap() -> int:
    text = _read(LAST_CAP).strip()
    return int(text) if text.isdecimal() else NEWEST_KNOWN_CAP
