"""Another process of the same user cannot be made the out-of-memory killer's first choice."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside


def setup(out: Outside) -> None:
    out.kept = out.victim().pid
    out.arguments += [out.kept]


def attempt(pid: str) -> None:
    with open(f"/proc/{pid}/oom_score_adj", "w", encoding="ascii") as file:
        file.write("1000")


def unharmed(out: Outside) -> bool:
    with open(f"/proc/{out.kept}/oom_score_adj", encoding="ascii") as file:
        return file.read() != "1000\n"
