"""The kernel's mechanisms as rows: what was found, why not more, what to do. Pure: Kernel and Facts in, rows out."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

from sandrun.doctor.rows import NO, OK, PARTIAL, Row
from sandrun.dryrun import WAYS
from sandrun.kernel import FILTERING, NAMESPACES, OUTER_FILTER, why_no_namespaces
from sandrun.plan.filesystem import NO_LANDLOCK
from sandrun.primitives import caps, landlock
from sandrun.primitives.cgroup_place import KILLER

if TYPE_CHECKING:
    from sandrun.doctor.probes import Facts, Trial
    from sandrun.kernel import Kernel

NOTIFIED = "for addresses in network.connect, --explain and trace"
RELEASES = {1: "5.13", 2: "5.19", 3: "6.2", 4: "6.7", 5: "6.10", 6: "6.12", 7: "6.15", 8: "7.0", 9: "7.1"}
"""The Linux that brought each Landlock ABI."""
PTRACE, TIOCSTI = "kernel.yama.ptrace_scope", "dev.tty.legacy_tiocsti"
ID_CAPABILITIES = caps.mask(("CAP_SETUID", "CAP_SETGID"))


def mechanisms(kernel: Kernel, facts: Facts) -> tuple[Row, ...]:
    """One row for each mechanism that a protection may need, and for what guards processes besides sandrun."""
    return (
        _landlock(kernel, facts),
        _seccomp(kernel, facts),
        _notify(facts),
        _capabilities(kernel),
        _ids(kernel, facts),
        *(_namespace(name, kernel, facts) for name in NAMESPACES),
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
    missing = [trial for _, trial in facts.namespaces if not trial.works]
    reason = ": ".join(why_no_namespace(missing[0], kernel, facts)) if missing else ""
    found: dict[str, Any] = {name: trial.works for name, trial in facts.namespaces}
    probed = (("cgroup", facts.cgroup.usable),)
    return kernel._replace(probed=probed, cgroup=facts.cgroup, namespace_reason=reason, broker=facts.broker, **found)


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
        return Row("seccomp user notification", OK, by=(NOTIFIED,))
    known = {
        errno.EBUSY: "run it outside of the sandbox that listens already",
        errno.EINVAL: "Linux 5.0 or newer",
    }
    hint = known.get(facts.notify.error, OUTER_FILTER)
    return Row("seccomp user notification", NO, by=(NOTIFIED,), why=(str(facts.notify),), hints=(hint,))


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


def _namespace(fact: str, kernel: Kernel, facts: Facts) -> Row:
    name = {"mountns": "mount", "netns": "network", "userns": "user"}.get(fact, fact.removesuffix("ns")) + " namespaces"
    trial = facts.namespace(fact)
    if trial.works:
        return Row(name, OK, by=("in a user namespace",) if kernel.needs_userns and fact != "userns" else ())
    why, hint = why_no_namespace(trial, kernel, facts)
    return Row(name, NO, why=(str(trial), why), hints=(hint,))


def why_no_namespace(trial: Trial, kernel: Kernel, facts: Facts) -> tuple[str, str]:
    """The likeliest reason why a namespace cannot be used, from what failed, and what to do."""
    return why_no_namespaces((trial.step, trial.error, trial.signal), kernel, facts.sysctl, facts.seccomp_mode)


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
