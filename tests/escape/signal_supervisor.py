"""The supervisor cannot be signalled, least of all killed or stopped."""

from __future__ import annotations

import os

from tests.probes.inside import supervisor


def needs() -> None:
    from tests import support

    support.need_landlock(6)


def attempt() -> None:
    os.kill(supervisor(), 0)
