"""The supervisor's resource limits cannot be lowered by prlimit64(2), which would kill it."""

from __future__ import annotations

import resource

from tests.probes.inside import supervisor

BARE = True


def attempt() -> None:
    resource.prlimit(supervisor(), resource.RLIMIT_CORE, (0, 0))
