"""Variables that steer the dynamic loader are not passed on."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.probes.inside import Blocked

if TYPE_CHECKING:
    from tests.escape.outside import Outside


def setup(out: Outside) -> None:
    out.options["env"] = {**out.who.env, "LD_LIBRARY_PATH": "/nonexistent", "LD_BIND_NOW": "1"}


def attempt() -> None:
    if not any(name.startswith("LD_") for name in os.environ):
        raise Blocked("not passed")
