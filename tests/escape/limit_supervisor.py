"""The supervisor's resource limits cannot be lowered by prlimit64(2), which would kill it."""

from __future__ import annotations

import os
import resource

BARE = True


def attempt() -> None:
    resource.prlimit(os.getppid(), resource.RLIMIT_CORE, (0, 0))
