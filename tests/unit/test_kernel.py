"""The facts of this kernel, held against what /proc and the kernel say by other ways."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

from sandrun import kernel as kernels
from sandrun import libc
from sandrun.kernel import PROBED, Kernel, names, probe
from tests.support import Who, in_child, landlock_abi

if TYPE_CHECKING:
    import pytest


def status(field: str) -> str:
    """A field of /proc/self/status (proc(5))."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(line.split(":")[1].strip() for line in lines if line.startswith(f"{field}:"))


def test_probe(who: Who) -> None:
    """Each fact, as root and as a user."""

    def facts() -> tuple[Kernel, int, int]:
        return probe(), int(status("CapEff"), 16), int(Path(kernels.LAST_CAP).read_text())

    found, effective, last_cap = in_child(facts, who)
    assert (found.arch, found.release) == (os.uname().machine, os.uname().release)
    assert found.landlock_abi == landlock_abi()
    assert (found.landlock_state == "available") == (landlock_abi() > 0)
    assert (found.capabilities, found.last_cap) == (effective, last_cap)
    assert (found.uid, found.is_root) == (who.uid, who.is_root)
    assert found.probed == ()


def test_probe_starts_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A launch cannot afford one."""

    def fail(*_: object) -> int:
        raise AssertionError("a process was started")

    for name in ("fork", "posix_spawn", "system"):
        monkeypatch.setattr(os, name, fail)
    assert probe().release


def test_seccomp_actions() -> None:
    """Those that the kernel lists."""
    found = probe()
    assert found.seccomp_filter
    assert found.seccomp_actions == set(Path(kernels.ACTIONS_AVAILABLE).read_text().split())


def test_seccomp_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel without filters, or an outer filter that refuses the call, has no action at all."""

    def refuse(*_: object) -> int:
        raise OSError(errno.ENOSYS, "")

    monkeypatch.setattr(libc, "seccomp", refuse)
    found = probe()
    assert (found.seccomp_filter, found.seccomp_actions) == (False, frozenset())


def test_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where /proc/sys is hidden, as in some containers, the oldest kernel with Landlock is assumed."""
    monkeypatch.setattr(kernels, "ACTIONS_AVAILABLE", "/nonexistent")
    monkeypatch.setattr(kernels, "LAST_CAP", "/nonexistent")
    found = probe()
    assert found.seccomp_actions == kernels.SECCOMP_ACTIONS
    assert found.last_cap == kernels.NEWEST_KNOWN_CAP


def test_names() -> None:
    """The names for `require`; what nobody looked for is not there."""
    facts = names(Kernel(landlock_abi=4, uid=1000))
    assert (facts["landlock"], facts["root"], facts["seccomp"]) == (4, False, True)
    assert not any(facts[name] for name in PROBED)
    assert names(Kernel(probed=(("userns", True), ("cgroup", 2))))["cgroup"] == 2
