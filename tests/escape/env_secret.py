"""A secret in the caller's environment is not passed on."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.probes.inside import Blocked

if TYPE_CHECKING:
    from tests.escape.outside import Outside


BARE = True


def setup(out: Outside) -> None:
    out.options["env"] = {**out.who.env, "AWS_SECRET_ACCESS_KEY": "hidden", "GITHUB_TOKEN": "hidden"}


def attempt() -> None:
    if "hidden" not in os.environ.values():
        raise Blocked("not passed")
