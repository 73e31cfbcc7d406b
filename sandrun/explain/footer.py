"""The lines after a run that failed and was not observed: what its command line names and may not be reached. Pure.

Nothing is known of what the command tried. But what it was told to work on is known, and so is what the plan says to that.
"""

from __future__ import annotations

import os
import posixpath
from typing import TYPE_CHECKING

from sandrun.explain.denials import Denial
from sandrun.explain.remedies import remedy
from sandrun.why.judge import Judge

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sandrun.host import Host
    from sandrun.kernel import Kernel
    from sandrun.plan.format import Plan
    from sandrun.plan.resolve import Resolution
    from sandrun.profile.model import Profile

MOST_WORDS = 50
MOST_LINES = 3


def footer(
    profile: Profile, resolution: Resolution, kernel: Kernel, host: Host, ways: Mapping[str, tuple[str, ...]]
) -> list[str]:
    """What to say on stderr; nothing if no word of the command line is the name of a file that is refused."""
    plan = resolution.plan
    files = tuple(_files(plan, host))
    if not files:
        return []
    judge = Judge(profile, resolution, kernel, host, ways, os.getgroups())
    lines = []
    for path in files:
        answer = judge.file("read", path)
        if not answer.granted and not answer.ordinary:
            denial = Denial("read", path, "", answer.reason, answer.entries)
            helps = remedy(denial)
            lines.append(f"the command may not read {path}: {answer.reason} ({helps.flag or helps.text})")
    return [*lines[:MOST_LINES], "hint: --explain tells what it was refused"] if lines else []


def _files(plan: Plan, host: Host) -> Iterator[str]:
    """The words of the command line that name something that is there, as absolute paths."""
    place = os.fsdecode(plan.cwd) or host.cwd
    seen = set()
    for word in plan.argv[1:MOST_WORDS]:
        name = os.fsdecode(word).rpartition("=")[2]
        path = posixpath.normpath(posixpath.join(place, name)) if name else ""
        if path.startswith("/") and path not in seen and host.lstat(path) is not None:
            seen.add(path)
            yield path
