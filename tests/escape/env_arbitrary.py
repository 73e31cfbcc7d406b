"""No variable that nothing names is passed on."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.probes.inside import Blocked

if TYPE_CHECKING:
    from tests.escape.outside import Outside


def setup(out: Outside) -> None:
    out.options["env"] = {**out.who.env, "SOMETHING": "hidden"}


def attempt() -> None:
    if "SOMETHING" not in os.environ:
        raise Blocked("not passed")
