"""A symlink that already lies in a granted directory grants nothing behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.probes.inside import read

if TYPE_CHECKING:
    from tests.escape.outside import Outside


def setup(out: Outside) -> None:
    (out.work / "door").symlink_to(out.secret().parent)


def attempt() -> None:
    read("door/secret")
