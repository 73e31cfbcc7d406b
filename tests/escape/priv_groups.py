"""A user brings its primary group only: the caller's supplementary groups are gone."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.probes.inside import Blocked

if TYPE_CHECKING:
    from tests.escape.outside import Outside

WHO = ("root",)
SANDRUN = ("--user", "1234")
OTHER_GROUP = 54321


def setup(out: Outside) -> None:
    out.options["extra_groups"] = [OTHER_GROUP]
    for path in (out.box, out.work):
        os.chown(path, 1234, 1234)


def attempt() -> None:
    if OTHER_GROUP not in os.getgroups():
        raise Blocked("not in the group")
