"""Kernel: the facts of this kernel and this process that a plan depends on, and `probe()`, which finds them.

Facts are probed by doing, not read off version numbers: under AppArmor or an outer sandbox a call exists and still
fails. `plan.resolve` takes a Kernel as a parameter, so that every kernel can be planned for on one machine.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kernel:
    """What can be had here.

    `landlock_abi` is 0 where there is none; `landlock_state` is "available", "disabled" (EOPNOTSUPP: not in the LSM
    list), "missing" (ENOSYS) or "refused" (an outer filter). `capabilities` is the effective set as a mask.
    """

    arch: str = "x86_64"
    release: str = ""
    landlock_abi: int = 0
    landlock_state: str = "missing"
    seccomp_filter: bool = True
    seccomp_actions: frozenset[str] = frozenset()
    last_cap: int = 40
    capabilities: int = 0
    uid: int = 0

    @property
    def is_root(self) -> bool:
        return self.uid == 0
