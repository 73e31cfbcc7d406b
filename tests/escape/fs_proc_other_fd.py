"""A file that a process outside the sandbox has open is not reachable through /proc/PID/fd."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.probes.inside import read

if TYPE_CHECKING:
    from tests.escape.outside import Outside


def setup(out: Outside) -> None:
    out.arguments += [out.victim(stdin=out.keep(out.secret().open())).pid]


def attempt(pid: str) -> None:
    read(f"/proc/{pid}/fd/0")
