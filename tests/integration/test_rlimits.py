"""Resource limits: what the plan says or less, never more."""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path

import pytest

from sandrun import native
from sandrun.plan.format import UNLIMITED, Plan
from sandrun.primitives import rlimits
from tests.integration.launching import launched
from tests.support import Who, in_child, need

NOFILE, CORE, CPU = resource.RLIMIT_NOFILE, resource.RLIMIT_CORE, resource.RLIMIT_CPU
ROWS = {NOFILE: "Max open files", CORE: "Max core file size", CPU: "Max cpu time"}


def limits_of(text: str, number: int) -> tuple[str, str]:
    """Soft and hard limit, from /proc/PID/limits."""
    row = next(line for line in text.splitlines() if line.startswith(ROWS[number]))
    soft, hard = row[len("Max cpu time              ") :].split()[:2]
    return soft, hard


@pytest.mark.parametrize(
    ("number", "before", "asked", "expected"),
    [
        (NOFILE, (500, 600), (100, 200), ("100", "200")),
        (NOFILE, (500, 600), (550, 600), ("500", "600")),  # the soft limit is not raised within the hard one
        (NOFILE, (500, 600), (700, 800), ("500", "600")),
        (NOFILE, (500, 600), (UNLIMITED, UNLIMITED), ("500", "600")),
        (CORE, (0, 0), (1, 1), ("0", "0")),
        (CORE, (0, -1), (1, 1), ("1", "1")),  # one byte is no dump, but stops those that are piped
        (CORE, (0, -1), (2, 2), ("0", "2")),
        (CPU, (-1, -1), (7, UNLIMITED), ("7", "unlimited")),
        (CPU, (-1, -1), (UNLIMITED, UNLIMITED), ("unlimited", "unlimited")),
        (CPU, (-1, -1), (2**63 + 5, 2**63 + 5), ("unlimited", "unlimited")),
        (CPU, (-1, -1), (9, 8), ("8", "8")),
    ],
)
def test_limits(
    who: Who, number: int, before: tuple[int, int], asked: tuple[int, int], expected: tuple[str, str]
) -> None:
    """The command has the lower of what it was given and what the plan says."""
    ran = launched(
        who,
        "/bin/cat",
        "/proc/self/limits",
        rlimits=((number, *asked),),
        before=lambda: resource.setrlimit(number, before),
    )
    assert limits_of(ran.out.decode(), number) == expected


@pytest.mark.parametrize(("most", "dumped"), [(0, False), (1, False), (UNLIMITED, True)])
def test_one_byte_of_core_dump_is_none(who: Who, box: Path, most: int, dumped: bool) -> None:
    """What is set where dumps are piped stops those into files too: no dump is smaller than a page."""
    pattern = Path("/proc/sys/kernel/core_pattern").read_text()
    need(not pattern.startswith(("|", "@", "/")), "core dumps into the working directory")
    need(resource.getrlimit(CORE)[1] == resource.RLIM_INFINITY, "a hard limit that lets core dumps be made")

    def before() -> None:
        resource.setrlimit(CORE, (-1, -1))
        os.chdir(box)

    ran = launched(who, "/bin/sh", "-c", "kill -SEGV $$", rlimits=((CORE, most, most),), before=before)
    assert ran.status == -signal.SIGSEGV
    assert any("core" in name for name in os.listdir(box)) == dumped


def test_others_stay(who: Who) -> None:
    """Limits that the plan does not name are the caller's."""
    ran = launched(who, "/bin/cat", "/proc/self/limits", rlimits=((CORE, 0, 0),))
    mine = Path("/proc/self/limits").read_text()
    assert limits_of(ran.out.decode(), NOFILE) == limits_of(mine, NOFILE)


def test_cannot_be_raised_again(who: Who) -> None:
    """The hard limit holds the command."""
    ran = launched(who, "/bin/sh", "-c", "ulimit -n 64; ulimit -n 65", rlimits=((NOFILE, 64, 64),))
    assert ran.status != 0


def test_prepare_does_not_set(who: Who) -> None:
    """The parent works the limits out and keeps its own."""

    def attempt() -> tuple[tuple[int, int], tuple[int, int]]:
        before = resource.getrlimit(NOFILE)
        rlimits.prepare(Plan(rlimits=((NOFILE, 1, 1),)))
        return before, resource.getrlimit(NOFILE)

    before, after = in_child(attempt, who)
    assert before == after


def test_the_failing_limit_is_named(who: Who) -> None:
    """When the kernel refuses a limit, the message has its name."""

    def before() -> None:
        os.environ[native.VARIABLE] = "python"

        def refuse(number: int, limits: object) -> None:
            raise PermissionError(1, "injected")

        resource.setrlimit = refuse

    ran = launched(who, "/bin/true", rlimits=((CORE, 0, 0),), before=before)
    assert ran.message == "cannot set resource limits: RLIMIT_CORE: Operation not permitted (EPERM)"
