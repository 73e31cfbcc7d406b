"""The supervisor's environment, with the caller's secrets in it, cannot be read in /proc."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside


BARE = True


def setup(out: Outside) -> None:
    out.options["env"] = {**out.who.env, "AWS_SECRET_ACCESS_KEY": "hidden"}


def attempt() -> None:
    with open(f"/proc/{os.getppid()}/environ", encoding="utf-8") as file:
        if "hidden" not in file.read():
            raise RuntimeError("not there")
