"""Root without capabilities cannot read the environment of another user's process."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside

WHO = ("root",)


def setup(out: Outside) -> None:
    from dataclasses import replace

    from tests import support

    stranger = replace(out.who, uid=support.USER_UID, gid=support.USER_UID)
    out.arguments += [out.victim(who=stranger, cwd="/", env={"TOKEN": "of somebody else", "PATH": support.PATH}).pid]


def attempt(pid: str) -> None:
    with open(f"/proc/{pid}/environ", encoding="utf-8") as file:
        if "TOKEN" not in file.read():
            raise RuntimeError("an empty environment")
