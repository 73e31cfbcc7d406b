"""The working directory of a process outside the sandbox is not reachable through /proc/PID/cwd."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.probes.inside import read

if TYPE_CHECKING:
    from tests.escape.outside import Outside


def setup(out: Outside) -> None:
    out.arguments += [out.victim(cwd=out.secret().parent).pid]


def attempt(pid: str) -> None:
    read(f"/proc/{pid}/cwd/secret")
