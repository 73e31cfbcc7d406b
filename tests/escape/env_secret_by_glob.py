"""A wildcard never passes on a variable that looks like a secret."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.probes.inside import Blocked

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = ("--env", "AWS_*")


def setup(out: Outside) -> None:
    out.options["env"] = {**out.who.env, "AWS_SECRET_ACCESS_KEY": "hidden", "AWS_REGION": "here"}


def attempt() -> None:
    if os.environ.get("AWS_REGION") != "here":
        raise RuntimeError("the wildcard passed nothing on")
    if "AWS_SECRET_ACCESS_KEY" not in os.environ:
        raise Blocked("not passed")
