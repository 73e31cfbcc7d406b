"""Even with all of TCP and UDP granted, no family but their two can be had, known to sandrun or not."""

from __future__ import annotations

import errno

from tests.probes.inside import Blocked, family_reaches_the_kernel

SANDRUN = ("--connect", "*")
AF_INET, AF_INET6, AF_MAX = 2, 10, 46


def attempt() -> None:
    for family in range(AF_MAX):
        if family in (AF_INET, AF_INET6):
            continue
        try:
            family_reaches_the_kernel(family)
        except OSError as error:
            if error.errno != errno.EAFNOSUPPORT:
                raise
        else:
            return
    raise Blocked("every other family")
