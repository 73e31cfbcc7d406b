"""The default profile does not let the user's ~/.bashrc be written."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside


STATUSES = (0, 3)
"""It may do so in a home of its own; without a mount namespace it may not."""


def setup(out: Outside) -> None:
    out.kept = out.file(out.who.home / ".bashrc", "# mine\n")
    out.arguments += [out.kept]


def attempt(path: str) -> None:
    with open(path, "a", encoding="utf-8") as file:
        file.write("evil\n")


def unharmed(out: Outside) -> bool:
    return bool(out.kept.read_text() == "# mine\n")
