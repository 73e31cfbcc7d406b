"""The command runs with no_new_privs."""

from __future__ import annotations

from tests.probes.inside import Blocked

BARE = True


def attempt() -> None:
    with open("/proc/self/status", encoding="ascii") as file:
        if "NoNewPrivs:\t1" in file.read():
            raise Blocked("no_new_privs")
