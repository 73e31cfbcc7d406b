"""What was said to sandrun is not shown by the init process of the command's pid namespace."""

from __future__ import annotations

from pathlib import Path

from tests.probes.inside import BELOW_ANOTHER_INIT, Blocked

PREFIX = BELOW_ANOTHER_INIT
SANDRUN = ("--env", "OUR_TOKEN=said-to-sandrun")


def needs() -> None:
    from tests import support

    support.need_userns()


def attempt() -> None:
    words = Path("/proc/1/cmdline").read_bytes().strip(b"\0")
    if words == b"init":
        raise Blocked("it has no command line")
