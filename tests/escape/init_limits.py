"""The init process of the command's pid namespace cannot be given a limit that ends it."""

from __future__ import annotations

import resource

from tests.probes.inside import BELOW_ANOTHER_INIT

PREFIX = BELOW_ANOTHER_INIT


def needs() -> None:
    from tests import support

    support.need_userns()


def attempt() -> None:
    resource.prlimit(1, resource.RLIMIT_CPU, (4321, 4321))
