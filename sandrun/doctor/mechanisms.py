"""The kernel's mechanisms as rows: what was found, why not more, what to do. Pure: Kernel and Facts in, rows out."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from sandrun.doctor.rows import NO, OK, PARTIAL, Row
from sandrun.plan.filesystem import NO_LANDLOCK
from sandrun.primitives import caps, landlock
from sandrun.primitives.cgroup_probe import KILLER
from sandrun.report import WAYS

if TYPE_CHECKING:
    from sandrun.doctor.probes import Facts, Trial
    from sandrun.kernel import Kernel

UNUSED = "not used by this version of sandrun"
OUTER_FILTER = (
    "allow it in the seccomp profile of the outer sandbox or container: docker run --security-opt seccomp=FILE"
)
RELEASES = {1: "5.13", 2: "5.19", 3: "6.2", 4: "6.7", 5: "6.10", 6: "6.12", 7: "6.15", 8: "7.0", 9: "7.1"}
"""The Linux that brought each Landlock ABI."""
FILTERING = 2
"""SECCOMP_MODE_FILTER, as prctl(PR_GET_SECCOMP) says it."""
CLONE, RESTRICT = "kernel.unprivileged_userns_clone", "kernel.apparmor_restrict_unprivileged_userns"
MOST, PTRACE, TIOCSTI = "user.max_user_namespaces", "kernel.yama.ptrace_scope", "dev.tty.legacy_tiocsti"
ID_CAPABILITIES = caps.mask(("CAP_SETUID", "CAP_SETGID"))


def mechanisms(kernel: Kernel, facts: Facts) -> tuple[Row, ...]:
    """One row for each mechanism that a protection may need, and for what guards processes besides sandrun."""
    return (
        _landlock(kernel, facts),
        _seccomp(kernel, facts),
        _notify(facts),
        _capabilities(kernel),
        _ids(kernel, facts),
        _userns(kernel, facts),
        _namespace("mount namespaces", facts.mountns, facts),
        _namespace("pid namespaces", facts.pidns, facts),
        _namespace("network namespaces", facts.netns, facts),
        _cgroup(facts),
        _ptrace(facts),
        _injection(facts),
        _hidepid(facts),
    )


def usable(kernel: Kernel, facts: Facts) -> Kernel:
    """`kernel` as it was found by trying: what answers and does not work is left out, the facts of PROBED are in."""
    if kernel.landlock_abi and not facts.landlock.works:
        kernel = kernel._replace(landlock_abi=0, landlock_state="refused")
    if not facts.seccomp.works:
        kernel = kernel._replace(seccomp_filter=False, seccomp_actions=frozenset())
    if not facts.ids.works:
        kernel = kernel._replace(capabilities=kernel.capabilities & ~ID_CAPABILITIES)
    trials = {"userns": facts.userns, "mountns": facts.mountns, "pidns": facts.pidns, "netns": facts.netns}
    probed: dict[str, int | bool] = {name: trial.works for name, trial in trials.items()}
    probed["cgroup"] = facts.cgroup.usable
    return kernel._replace(probed=tuple(sorted(probed.items())), cgroup=facts.cgroup)


def _landlock(kernel: Kernel, facts: Facts) -> Row:
    found = f"ABI {kernel.landlock_abi}"
    if not kernel.landlock_abi:
        why, hint = NO_LANDLOCK.get(kernel.landlock_state, NO_LANDLOCK["missing"])
        return Row("Landlock", NO, by=(found,), why=(why,), hints=(hint,))
    if facts.landlock_errata:
        found += f", errata {facts.landlock_errata:#x} fixed"
    if not facts.landlock.works:
        nested = facts.landlock.error == errno.E2BIG
        hint = (
            "run it with fewer sandboxes around it: 16 rulesets can be nested" if nested else NO_LANDLOCK["refused"][1]
        )
        return Row("Landlock", NO, by=(found,), why=(str(facts.landlock),), hints=(hint,))
    missing: dict[int, list[str]] = {}
    for table in (landlock.FS_ABI, landlock.NET_ABI, landlock.SCOPES_ABI):
        for name, abi in table.items():
            if abi > kernel.landlock_abi:
                missing.setdefault(abi, []).append(name)
    if not missing:
        return Row("Landlock", OK, by=(found,))
    why = "; ".join(f"{', '.join(names)}: ABI {abi}" for abi, names in sorted(missing.items()))
    hint = "; ".join(f"ABI {abi}: Linux {RELEASES.get(abi, 'newer than that')}" for abi in sorted(missing))
    return Row("Landlock", PARTIAL, by=(found,), why=(f"this ABI lacks {why}",), hints=(hint,))


def _seccomp(kernel: Kernel, facts: Facts) -> Row:
    filtered = facts.seccomp_mode == FILTERING
    found = ("an outer filter is in force",) if filtered else ()
    if facts.seccomp.works:
        return Row("seccomp filters", OK, by=(*sorted(kernel.seccomp_actions), *found))
    hint = OUTER_FILTER if filtered else "a kernel with CONFIG_SECCOMP_FILTER on x86_64 or aarch64"
    return Row("seccomp filters", NO, by=found, why=(str(facts.seccomp),), hints=(hint,))


def _notify(facts: Facts) -> Row:
    if facts.notify.works:
        return Row("seccomp user notification", OK, by=(UNUSED,))
    known = {
        errno.EBUSY: "run it outside of the sandbox that listens already",
        errno.EINVAL: "Linux 5.0 or newer",
    }
    hint = known.get(facts.notify.error, OUTER_FILTER)
    return Row("seccomp user notification", NO, by=(UNUSED,), why=(str(facts.notify),), hints=(hint,))


def _capabilities(kernel: Kernel) -> Row:
    held = kernel.capabilities
    found = f"{held.bit_count()} of {kernel.last_cap + 1} held"
    missing = (1 << kernel.last_cap + 1) - 1 & ~held
    if not missing:
        return Row("capabilities to keep", OK, by=(found,))
    if not held:
        return Row("capabilities to keep", NO, by=(found,), why=("no root privileges",), hints=("run it as root",))
    why = "not held: " + ", ".join(caps.names(missing))
    return Row("capabilities to keep", PARTIAL, by=(found,), why=(why,), hints=("run it with them",))


def _ids(kernel: Kernel, facts: Facts) -> Row:
    if facts.ids.works:
        return Row("change of user and groups", OK)
    confined = kernel.capabilities & ID_CAPABILITIES == ID_CAPABILITIES
    hint = "run it as root" + (" outside of this user namespace, which does not have all ids" if confined else "")
    return Row("change of user and groups", NO, why=(str(facts.ids),), hints=(hint,))


def _userns(kernel: Kernel, facts: Facts) -> Row:
    if facts.userns.works:
        return Row("user namespaces", OK, by=(UNUSED,))
    why, hint = why_no_userns(kernel, facts)
    return Row("user namespaces", NO, by=(UNUSED,), why=(str(facts.userns), why), hints=(hint,))


def why_no_userns(kernel: Kernel, facts: Facts) -> tuple[str, str]:
    """The likeliest reason why a user namespace cannot be used, from what failed, and what to do (user_namespaces(7))."""
    trial = facts.userns
    if trial.step == "make a user namespace":
        if trial.error == errno.ENOSPC and facts.sysctl(MOST) == "0":
            return f"{MOST} is 0", f"sysctl -w {MOST}=15000"
        if trial.error == errno.ENOSPC:
            return "as many as allowed are in use, here or in an outer user namespace", f"raise {MOST} there"
        if trial.error == errno.EUSERS:
            return "they are nested too deep", "run it in fewer of them"
        if trial.error in (errno.EINVAL, errno.ENOSYS):
            return "this kernel has none", "a kernel with CONFIG_USER_NS"
        if facts.sysctl(CLONE) == "0" and kernel.uid:
            return f"{CLONE} is 0", f"sysctl -w {CLONE}=1"
    refused = trial.error in (errno.EPERM, errno.EACCES)
    if facts.sysctl(RESTRICT) == "1" and kernel.uid and refused:
        # AppArmor lets the namespace be made, and takes every capability in it away.
        return f"{RESTRICT} is 1", f"an AppArmor profile for sandrun with the rule userns, or sysctl -w {RESTRICT}=0"
    if facts.seccomp_mode == FILTERING and (refused or trial.signal or trial.error == errno.ENOSYS):
        return "an outer seccomp filter is in force, as in Docker", OUTER_FILTER
    return "an outer sandbox, a security module or a changed root directory (chroot)", "run it outside of that"


def _namespace(name: str, trial: Trial, facts: Facts) -> Row:
    if trial.works:
        return Row(name, OK, by=(UNUSED,))
    hint = "a kernel that has them" if facts.userns.works else "run it as root, or see user namespaces"
    return Row(name, NO, by=(UNUSED,), why=(str(trial),), hints=(hint,))


def _cgroup(facts: Facts) -> Row:
    cgroup = facts.cgroup
    found = (f"version {cgroup.version}",) if cgroup.version else ()
    if not cgroup.usable:
        return Row("control groups", NO, by=found, why=(cgroup.reason,), hints=(cgroup.hint,))
    controllers = " ".join(name for name, _ in cgroup.places if name != KILLER) or "no controllers"
    return Row("control groups", OK, by=(WAYS[cgroup.way], controllers))


def _ptrace(facts: Facts) -> Row:
    name, scope = "ptrace restricted (Yama)", facts.sysctl(PTRACE)
    if scope not in ("", "0"):
        return Row(name, OK, by=(f"{PTRACE} is {scope}",))
    why = "outside of sandrun, processes of one user can read and change each other"
    return Row(
        name, NO, why=(why,), hints=(f"sysctl -w {PTRACE}=1" if scope else "a kernel with CONFIG_SECURITY_YAMA",)
    )


def _injection(facts: Facts) -> Row:
    name, legacy = "TIOCSTI refused by the kernel", facts.sysctl(TIOCSTI)
    if legacy == "0":
        return Row(name, OK, by=(f"{TIOCSTI} is 0",))
    why = "outside of sandrun, a process can type into its terminal"
    return Row(name, NO, why=(why,), hints=(f"sysctl -w {TIOCSTI}=0" if legacy else "Linux 6.2 or newer",))


def _hidepid(facts: Facts) -> Row:
    if facts.hidepid not in ("", "0", "off"):
        return Row("processes of others hidden", OK, by=(f"hidepid={facts.hidepid}",))
    why = "every user can see all processes in /proc"
    return Row("processes of others hidden", NO, why=(why,), hints=("mount -o remount,hidepid=invisible /proc",))
