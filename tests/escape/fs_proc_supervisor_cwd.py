"""The supervisor's working directory is not reachable through /proc."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.probes.inside import read, supervisor

if TYPE_CHECKING:
    from tests.escape.outside import Outside


def setup(out: Outside) -> None:
    out.options["cwd"] = out.secret().parent
    out.values["outside"] = out.options["cwd"]


SANDRUN = ("--cwd", "{work}", "-w", "{work}")


def attempt() -> None:
    read(f"/proc/{supervisor()}/cwd/secret")
