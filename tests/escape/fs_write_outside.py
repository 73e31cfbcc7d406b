"""A file outside the grants cannot be opened for writing."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside


BARE = True


def setup(out: Outside) -> None:
    out.kept = out.secret()
    out.arguments += [out.kept]


def attempt(path: str) -> None:
    with open(path, "a", encoding="utf-8") as file:
        file.write("gone")


def unharmed(out: Outside) -> bool:
    return "gone" not in out.kept.read_text()
