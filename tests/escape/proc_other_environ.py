"""The environment of another process of the same user cannot be read in /proc."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside


def setup(out: Outside) -> None:
    out.arguments += [out.victim(env={**out.who.env, "TOKEN": "hidden"}).pid]


def attempt(pid: str) -> None:
    with open(f"/proc/{pid}/environ", encoding="utf-8") as file:
        if "hidden" not in file.read():
            raise RuntimeError("not there")
