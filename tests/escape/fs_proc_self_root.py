"""/proc/self/root is no other way to the same files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.probes.inside import read

if TYPE_CHECKING:
    from tests.escape.outside import Outside


def setup(out: Outside) -> None:
    out.arguments += [out.secret()]


def attempt(path: str) -> None:
    read("/proc/self/root" + path)
