"""The supervisor's environment, with the caller's secrets in it, cannot be read in /proc."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.probes.inside import supervisor

if TYPE_CHECKING:
    from tests.escape.outside import Outside


BARE = True


def setup(out: Outside) -> None:
    out.options["env"] = {**out.who.env, "AWS_SECRET_ACCESS_KEY": "hidden"}


def attempt() -> None:
    with open(f"/proc/{supervisor()}/environ", encoding="utf-8") as file:
        if "hidden" not in file.read():
            raise RuntimeError("not there")
