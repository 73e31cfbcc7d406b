"""Root has no capability inside, in any of its five sets."""

from __future__ import annotations

from tests.probes.inside import Blocked

BARE = True
WHO = ("root",)


def attempt() -> None:
    with open("/proc/self/status", encoding="ascii") as file:
        sets = [line.split() for line in file if line.startswith("Cap")]
    if len(sets) != 5:
        raise RuntimeError("not five sets")
    if not any(int(value, 16) for _, value in sets):
        raise Blocked("none")
