"""kcmp(2) tells nothing of the supervisor."""

from __future__ import annotations

import os

from tests.probes.inside import supervisor, syscall

KCMP_VM = 1


def attempt() -> None:
    syscall("kcmp", supervisor(), os.getpid(), KCMP_VM, 0, 0)
