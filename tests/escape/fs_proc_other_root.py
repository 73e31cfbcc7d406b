"""The root directory of a process outside the sandbox is not reachable through /proc/PID/root."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.probes.inside import read

if TYPE_CHECKING:
    from tests.escape.outside import Outside


def setup(out: Outside) -> None:
    out.arguments += [out.victim().pid, out.secret()]


def attempt(pid: str, path: str) -> None:
    read(f"/proc/{pid}/root{path}")
