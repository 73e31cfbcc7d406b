"""Kernel: the facts of this kernel and this process that a plan depends on, and `probe()`, which finds them.

Facts are probed by doing, not read off version numbers: under AppArmor or an outer sandbox a call exists and still
fails. `plan.resolve` takes a Kernel as a parameter, so that every kernel can be planned for on one machine.
"""

from __future__ import annotations

import errno
import os
import sys

from sandrun import libc
from sandrun.errors import SandrunError
from sandrun.named import NamedTuple
from sandrun.primitives import caps, landlock, namespaces
from sandrun.primitives.cgroup_place import Cgroup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

ACTIONS_AVAILABLE = "/proc/sys/kernel/seccomp/actions_avail"
LAST_CAP = "/proc/sys/kernel/cap_last_cap"
NEWEST_KNOWN_CAP = 40
NAMESPACES: dict[str, int] = {
    "userns": libc.CLONE_NEWUSER,
    "mountns": libc.CLONE_NEWNS,
    "pidns": libc.CLONE_NEWNS | libc.CLONE_NEWPID,
    "netns": libc.CLONE_NEWNET,
    "ipcns": libc.CLONE_NEWIPC,
    "utsns": libc.CLONE_NEWUTS,
    "cgroupns": libc.CLONE_NEWCGROUP,
    "timens": libc.CLONE_NEWTIME,
}
"""The fields of Kernel that say which namespaces can be had, and what is made to find out."""
NAMESPACE_FILES = frozenset({"user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "time"})
"""In /proc/PID/ns, where the kernel has them (namespaces(7))."""
LABELS = {"apparmor": "/proc/self/attr/apparmor/current", "selinux": "/sys/fs/selinux/enforce"}
"""What can be read only where the module is in force, by anybody (the module's own parameters are for root)."""
PROBED = ("cgroup", *NAMESPACES)
"""Facts that take a process of their own to find, which a launch does for those that it needs."""
FILTERING = 2
"""SECCOMP_MODE_FILTER, as prctl(PR_GET_SECCOMP) says it."""
USERNS_CLONE, USERNS_RESTRICT = "kernel.unprivileged_userns_clone", "kernel.apparmor_restrict_unprivileged_userns"
USERNS_MOST = "user.max_user_namespaces"
SYSCTLS = (USERNS_CLONE, USERNS_RESTRICT, USERNS_MOST)
"""All that are asked."""
OUTER_FILTER = (
    "allow it in the seccomp profile of the outer sandbox or container: docker run --security-opt seccomp=FILE"
)
SECCOMP_ACTIONS = frozenset({"kill_process", "kill_thread", "trap", "errno", "user_notif", "trace", "log", "allow"})
"""Those of Linux 5.0 and newer, where /proc cannot be asked; Landlock came with 5.13."""
SECCOMP_RET_ERRNO = (0x00050000).to_bytes(4, sys.byteorder)
"""The action that every filter needs, as seccomp(2) takes it for SECCOMP_GET_ACTION_AVAIL."""


class Kernel(NamedTuple):
    """What can be had here.

    `landlock_abi` is 0 where there is none; `landlock_state` is "available", "disabled" (EOPNOTSUPP: not in the LSM
    list), "missing" (ENOSYS) or "refused" (an outer filter). `capabilities` is the effective set as a mask. `probed` has
    other facts of PROBED that were looked for. The namespaces are those that this process can make and use: `mountns`
    with a mount in it, `pidns` with its own proc(5); `namespace_reason` says why one is missing, and what to do.
    `broker` is why this process cannot answer for the connect(2) of another (seccomp_unotify(2)), "" if it can.
    `labels` names the security modules in force that can label the command: "apparmor", "selinux".
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
    labels: frozenset[str] = frozenset()
    namespace_reason: str = ""
    broker: str = "it was not tried"
    cgroup: Cgroup = Cgroup()

    @property
    def is_root(self) -> bool:
        return self.uid == 0

    @property
    def needs_userns(self) -> bool:
        """Whether every other namespace takes a user namespace around it."""
        return not self.capabilities & caps.mask(("CAP_SYS_ADMIN",))


def probe() -> Kernel:
    """Ask this kernel, with the few calls that a launch can afford; `doctor` asks for more."""
    system = os.uname()
    abi, state = landlock.probe()
    actions = _actions()
    return Kernel(
        arch=system.machine,
        release=system.release,
        landlock_abi=abi,
        landlock_state=state,
        seccomp_filter=bool(actions),
        seccomp_actions=actions,
        last_cap=_last_cap(),
        capabilities=libc.capget()[0],
        uid=os.geteuid(),
        labels=frozenset(name for name, path in LABELS.items() if _read(path)),
    )


def with_landlock(kernel: Kernel, abi: int) -> Kernel:
    """`kernel` as if it had this Landlock ABI, 0 for none: to plan with, not to launch."""
    return kernel._replace(landlock_abi=abi, landlock_state="available" if abi else "missing")


def with_cgroup(kernel: Kernel) -> Kernel:
    """`kernel` with what is known of control groups; some calls more, for profiles that limit resources."""
    from sandrun.primitives import cgroup_probe  # noqa: PLC0415 (few launches need it)

    return kernel._replace(cgroup=cgroup_probe.probe())


def with_namespaces(kernel: Kernel, *, user: bool = False) -> Kernel:
    """`kernel` with the namespaces that can be had, found by making and using them: 3 ms where all works.

    `user`: look for a user namespace also where the others do not need one. Raises SandrunError if nothing can be forked.
    """
    around = libc.CLONE_NEWUSER if kernel.needs_userns else 0
    failed = _attempt(namespaces.ALL & ~libc.CLONE_NEWUSER | around)
    if not failed[0]:
        found: dict[str, Any] = {name: kind != libc.CLONE_NEWUSER or bool(around) for name, kind in NAMESPACES.items()}
        if user and not around:
            failed = _attempt(libc.CLONE_NEWUSER)
            found["userns"] = not failed[0]
    else:
        trials = {"userns": _attempt(libc.CLONE_NEWUSER)}
        # Where each of the others takes a user namespace around it, one trial says it for all.
        hopeless = bool(around and trials["userns"][0])
        for name, kind in NAMESPACES.items():
            trials.setdefault(name, trials["userns"] if hopeless else _attempt(kind | around))
        found = {name: not step for name, (step, _, _) in trials.items()}
        failed = next((trial for trial in trials.values() if trial[0]), failed)
    reason = ": ".join(why_no_namespaces(failed, kernel, _sysctl, libc.prctl(libc.PR_GET_SECCOMP))) if failed[0] else ""
    return kernel._replace(namespace_reason=reason, **found)


def with_broker(kernel: Kernel) -> Kernel:
    """`kernel` with whether the connections of a command can be made for it, found by making one: 3 ms.

    Raises SandrunError if nothing can be forked.
    """
    from sandrun.primitives import notify  # noqa: PLC0415 (few launches need it)

    try:
        return kernel._replace(broker=notify.attempt(kernel.arch))
    except OSError as error:
        raise SandrunError(f"cannot try user notification: {libc.strerror(error.errno or 0)}") from None


def assume_namespaces(kernel: Kernel) -> Kernel | None:
    """`kernel` with all namespaces, where nothing that can be read speaks against them; None where only trying tells.

    It takes no process, and may be wrong: in a Landlock domain, a changed root directory, or under a security module.
    So only a launch may believe it, which fails at a step if it is, and then asks `with_namespaces`.
    """
    if libc.prctl(libc.PR_GET_SECCOMP) == FILTERING:
        return None
    if kernel.needs_userns and (
        _sysctl(USERNS_MOST) in ("", "0") or _sysctl(USERNS_CLONE) == "0" or _sysctl(USERNS_RESTRICT) == "1"
    ):
        return None
    try:
        known = frozenset(os.listdir("/proc/self/ns"))
    except OSError:
        return None
    if not known >= NAMESPACE_FILES:
        return None
    found: dict[str, Any] = {
        name: kind != libc.CLONE_NEWUSER or kernel.needs_userns for name, kind in NAMESPACES.items()
    }
    return kernel._replace(namespace_reason="", **found)


def why_no_namespaces(
    failed: tuple[str, int, int], kernel: Kernel, sysctl: Callable[[str], str], seccomp_mode: int
) -> tuple[str, str]:
    """The likeliest reason why namespaces cannot be used, and what to do (user_namespaces(7)).

    `failed` is the answer of `namespaces.attempt`; `sysctl` gives the value of a sysctl, "" for none.
    """
    step, error, signal = failed
    if error == errno.EAGAIN:
        return "this user has as many processes as it may", "raise that limit: ulimit -u"
    if step.startswith("make "):
        if error == errno.ENOSPC and sysctl(USERNS_MOST) == "0":
            return f"{USERNS_MOST} is 0", f"sysctl -w {USERNS_MOST}=15000"
        if error == errno.ENOSPC:
            return "as many as allowed are in use, here or in an outer user namespace", f"raise {USERNS_MOST} there"
        if error == errno.EUSERS:
            return "they are nested too deep", "run it in fewer of them"
        if error in (errno.EINVAL, errno.ENOSYS):
            return "this kernel has none", "a kernel with CONFIG_USER_NS"
        if sysctl(USERNS_CLONE) == "0" and not kernel.is_root:
            return f"{USERNS_CLONE} is 0", f"sysctl -w {USERNS_CLONE}=1"
    refused = error in (errno.EPERM, errno.EACCES)
    if sysctl(USERNS_RESTRICT) == "1" and not kernel.is_root and refused:
        # AppArmor lets the namespace be made, and takes every capability in it away.
        mend = f"an AppArmor profile for sandrun with the rule userns, or sysctl -w {USERNS_RESTRICT}=0"
        return f"{USERNS_RESTRICT} is 1", mend
    if seccomp_mode == FILTERING and (refused or signal or error == errno.ENOSYS):
        return "an outer seccomp filter is in force, as in Docker", OUTER_FILTER
    return "an outer sandbox, a security module or a changed root directory (chroot)", "run it outside of that"


def names(kernel: Kernel) -> dict[str, int | bool]:
    """The facts that a profile's `require` may ask for, by the names that `sandrun doctor` prints.

    A fact of PROBED that nobody looked for is False: a requirement then fails, which is the safe side.
    """
    return {
        **dict.fromkeys(PROBED, False),
        **{name: bool(getattr(kernel, name)) for name in NAMESPACES},
        **dict(kernel.probed),
        "landlock": kernel.landlock_abi,
        "root": kernel.is_root,
        "seccomp": kernel.seccomp_filter,
    }


def _attempt(kinds: int) -> tuple[str, int, int]:
    try:
        return namespaces.attempt(kinds)
    except OSError as error:
        raise SandrunError(f"cannot try namespaces: {libc.strerror(error.errno or 0)}") from None


def _read(path: str) -> str:
    try:
        with open(path, "rb", buffering=0) as file:  # text would take a codec and two more objects
            return (file.read() or b"").decode(errors="replace")
    except OSError:
        return ""


def sysctl_path(name: str) -> str:
    """The file of a sysctl (proc_sys(5))."""
    return "/proc/sys/" + name.replace(".", "/")


def _sysctl(name: str) -> str:
    return _read(sysctl_path(name)).strip()


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
