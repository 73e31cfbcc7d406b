"""The kernel's mechanisms as rows: found or not, why not, and what to do about it. Pure: Kernel and Facts in, rows out."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from sandrun.doctor.rows import NO, OK, PARTIAL, Row
from sandrun.plan.filesystem import NO_LANDLOCK
from sandrun.primitives import landlock
from sandrun.primitives.caps import names as capability_names

if TYPE_CHECKING:
    from sandrun.doctor.probes import Facts, Trial
    from sandrun.kernel import Kernel

UNUSED = "not used by this version of sandrun"
OUTER_FILTER = "allow it in the outer sandbox or container, for example docker run --security-opt seccomp=FILE"
RELEASES = {1: "5.13", 2: "5.19", 3: "6.2", 4: "6.7", 5: "6.10", 6: "6.12", 7: "6.15"}
"""The Linux that brought each Landlock ABI."""
FILTERING = 2
"""SECCOMP_MODE_FILTER (seccomp(2))."""


def mechanisms(kernel: Kernel, facts: Facts) -> tuple[Row, ...]:
    """One row for each mechanism that a protection may need."""
    return (
        _landlock(kernel, facts),
        _seccomp(kernel, facts),
        _notify(facts),
        _capabilities(kernel),
        _userns(kernel, facts),
        *(
            _namespace(name, trial, facts)
            for name, trial in (
                ("mount namespaces", facts.mountns),
                ("pid namespaces", facts.pidns),
                ("network namespaces", facts.netns),
            )
        ),
        _cgroup(facts),
        *_surroundings(facts),
    )


def usable(kernel: Kernel, facts: Facts) -> Kernel:
    """`kernel` with what was found by trying: a mechanism that answers and does not work is none; and all of PROBED."""
    if not facts.landlock.works:
        state = "refused" if kernel.landlock_abi else kernel.landlock_state
        kernel = kernel._replace(landlock_abi=0, landlock_state=state)
    if not facts.seccomp.works:
        kernel = kernel._replace(seccomp_filter=False, seccomp_actions=frozenset())
    trials = {"userns": facts.userns, "mountns": facts.mountns, "pidns": facts.pidns, "netns": facts.netns}
    probed: dict[str, int | bool] = {name: trial.works for name, trial in trials.items()}
    probed["cgroup"] = facts.cgroup.version if facts.cgroup.delegated else 0
    return kernel._replace(probed=tuple(sorted(probed.items())))


def _landlock(kernel: Kernel, facts: Facts) -> Row:
    found = f"ABI {kernel.landlock_abi}"
    if not kernel.landlock_abi:
        why, todo = NO_LANDLOCK.get(kernel.landlock_state, NO_LANDLOCK["missing"])
        return Row("Landlock", NO, by=(found,), why=(why,), todo=(todo,))
    if facts.landlock_errata:
        found += f", fixed errata {facts.landlock_errata:#x}"
    if not facts.landlock.works:
        todo = "at most 16 rulesets can be nested" if facts.landlock.error == errno.E2BIG else NO_LANDLOCK["refused"][1]
        return Row("Landlock", NO, by=(found,), why=(f"cannot be applied: {facts.landlock}",), todo=(todo,))
    missing = _missing_rights(kernel.landlock_abi)
    if not missing:
        return Row("Landlock", OK, by=(found,))
    why = "this ABI lacks " + ", ".join(f"{name} (ABI {abi})" for name, abi in missing)
    newest = max(abi for _, abi in missing)
    release = RELEASES.get(newest)
    return Row("Landlock", PARTIAL, by=(found,), why=(why,), todo=(f"Linux {release}" if release else "a newer Linux",))


def _missing_rights(abi: int) -> list[tuple[str, int]]:
    since = landlock.FS_ABI | landlock.NET_ABI | {f"{name} scope": abi for name, abi in landlock.SCOPES_ABI.items()}
    return sorted(((name, needed) for name, needed in since.items() if needed > abi), key=lambda right: right[1])


def _seccomp(kernel: Kernel, facts: Facts) -> Row:
    mode = "a filter is in force already" if facts.seccomp_mode == FILTERING else ""
    if facts.seccomp.works:
        found = (", ".join(sorted(kernel.seccomp_actions)), *((mode,) if mode else ()))
        return Row("seccomp filters", OK, by=found)
    todo = OUTER_FILTER if mode else "a kernel with CONFIG_SECCOMP_FILTER on x86_64 or aarch64"
    return Row("seccomp filters", NO, by=(mode,) if mode else (), why=(str(facts.seccomp),), todo=(todo,))


def _notify(facts: Facts) -> Row:
    if facts.notify.works:
        return Row("seccomp user notification", OK, notes=(UNUSED,))
    todo = {
        errno.EBUSY: "an outer sandbox listens already: run outside of it",
        errno.EINVAL: "Linux 5.0 or newer",
    }.get(facts.notify.error, OUTER_FILTER)
    return Row("seccomp user notification", NO, why=(str(facts.notify),), todo=(todo,), notes=(UNUSED,))


def _capabilities(kernel: Kernel) -> Row:
    held = kernel.capabilities
    every = (1 << kernel.last_cap + 1) - 1
    if not held:
        why, todo = "none is held", "run as root to keep some, or to change the user"
        return Row("capabilities to give", NO, by=(f"uid {kernel.uid}",), why=(why,), todo=(todo,))
    missing = ", ".join(capability_names(every & ~held))
    if not missing:
        return Row("capabilities to give", OK, by=(f"all {kernel.last_cap + 1}",))
    found = f"{held.bit_count()} of {kernel.last_cap + 1}"
    return Row("capabilities to give", PARTIAL, by=(found,), why=(f"not held: {missing}",), todo=("run as full root",))


def _userns(kernel: Kernel, facts: Facts) -> Row:
    if facts.userns.works:
        return Row("user namespaces", OK, notes=(UNUSED,))
    why, todo = _why_no_userns(kernel, facts)
    return Row("user namespaces", NO, why=(f"{facts.userns}: {why}",), todo=(todo,), notes=(UNUSED,))


def _why_no_userns(kernel: Kernel, facts: Facts) -> tuple[str, str]:
    """The likeliest reason why a user namespace was refused, and what to do: what failed with what, then who does that."""
    trial = facts.userns
    made = trial.step != "make a user namespace"
    if not made and trial.error == errno.ENOSPC:
        limit = facts.sysctl("user.max_user_namespaces")
        if limit == "0":
            return "user.max_user_namespaces is 0", "sysctl -w user.max_user_namespaces=15000"
        return "a limit is reached, perhaps of an outer user namespace", "raise user.max_user_namespaces there"
    if not made and trial.error == errno.EUSERS:
        return "user namespaces are nested too deep", "run outside of some of them"
    if not made and trial.error in (errno.EINVAL, errno.ENOSYS):
        return "this kernel has none", "a kernel with CONFIG_USER_NS"
    if not made and facts.sysctl("kernel.unprivileged_userns_clone") == "0" and kernel.uid:
        return "kernel.unprivileged_userns_clone is 0", "sysctl -w kernel.unprivileged_userns_clone=1"
    restricted = facts.sysctl("kernel.apparmor_restrict_unprivileged_userns") == "1"
    if restricted and trial.error in (errno.EPERM, errno.EACCES) and not kernel.capabilities:
        todo = "an AppArmor profile for sandrun with the rule userns, or sysctl -w {}=0"
        name = "kernel.apparmor_restrict_unprivileged_userns"
        return f"{name} is 1: AppArmor takes the capabilities in it away", todo.format(name)
    if facts.seccomp_mode == FILTERING:
        place = f" ({facts.container})" if facts.container else ""
        return f"an outer seccomp filter refuses it{place}", OUTER_FILTER
    if made:
        return "an outer Landlock ruleset or security module refuses it", "run outside of that sandbox"
    return "a security module or a changed root directory (chroot) refuses it", "see the kernel log"


def _namespace(name: str, trial: Trial, facts: Facts) -> Row:
    if trial.works:
        return Row(name, OK, notes=(UNUSED,))
    todo = "run as root, or see user namespaces" if not facts.userns.works else "a kernel with this namespace"
    return Row(name, NO, why=(str(trial),), todo=(todo,), notes=(UNUSED,))


def _cgroup(facts: Facts) -> Row:
    cgroup = facts.cgroup
    if not cgroup.version:
        return Row(
            "control groups", NO, why=("none is mounted",), todo=("mount cgroup2 on /sys/fs/cgroup",), notes=(UNUSED,)
        )
    found = (f"version {cgroup.version}", "controllers: " + (" ".join(cgroup.controllers) or "none"))
    if cgroup.delegated:
        return Row("control groups", OK, by=found, notes=(UNUSED,))
    why = f"{cgroup.path} is not ours to change"
    todo = "systemd-run --user --scope -p Delegate=yes, or run as root"
    return Row("control groups", NO, by=found, why=(why,), todo=(todo,), notes=(UNUSED,))


def _surroundings(facts: Facts) -> tuple[Row, ...]:
    """What protects, or fails to protect, besides sandrun."""
    rows = []
    scope = facts.sysctl("kernel.yama.ptrace_scope")
    if scope in ("", "0"):
        why = "processes of the same user may debug each other" + ("" if scope else "; Yama is not there")
        rows.append(
            Row(
                "Yama ptrace_scope",
                NO,
                by=(scope,) if scope else (),
                why=(why,),
                todo=_set("kernel.yama.ptrace_scope", scope, "1"),
            )
        )
    else:
        rows.append(Row("Yama ptrace_scope", OK, by=(scope,)))
    injection = facts.sysctl("dev.tty.legacy_tiocsti")
    if injection == "0":
        rows.append(Row("TIOCSTI refused by the kernel", OK, by=("dev.tty.legacy_tiocsti is 0",)))
    else:
        why = "a process can type into its terminal; sandrun refuses that by seccomp"
        todo = _set("dev.tty.legacy_tiocsti", injection, "0") or ("Linux 6.2 or newer",)
        rows.append(Row("TIOCSTI refused by the kernel", NO, why=(why,), todo=todo))
    if facts.hidepid in ("", "0", "off"):
        why = "other users' processes are visible in /proc"
        rows.append(Row("hidepid of /proc", NO, why=(why,), todo=("mount -o remount,hidepid=invisible /proc",)))
    else:
        rows.append(Row("hidepid of /proc", OK, by=(facts.hidepid,)))
    return tuple(rows)


def _set(name: str, value: str, wanted: str) -> tuple[str, ...]:
    """The command that sets a sysctl; nothing to say where there is none of that name."""
    return (f"sysctl -w {name}={wanted}",) if value else ()
