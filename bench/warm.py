"""Launches of `true` from one Python process that lives on; run by startup.py with the Python that has the peers' packages.

Usage: warm.py ROUNDS SANDRUN BWRAP-WORDS... Prints JSON: arm to seconds by round. Arms take turns.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING

from bench.timing import seconds, take_turns

if TYPE_CHECKING:
    from collections.abc import Callable

SYSTEM = ["/usr", "/lib", "/lib64", "/bin", "/etc", "/proc", "/dev"]


def by_subprocess(words: list[str]) -> Callable[[], object]:
    """A launch by subprocess.run."""
    return lambda: subprocess.run(words, check=True, stdin=subprocess.DEVNULL)


def by_sandlock() -> Callable[[], object]:
    """A launch through the interface of sandlock.

    Raises:
        ImportError: it is not installed.
    """
    import sandlock  # noqa: PLC0415 # each peer may be missing

    box = sandlock.Sandbox(fs_readable=SYSTEM, fs_writable=["."])
    return lambda: box.run(["true"])


def by_nono() -> Callable[[], object]:
    """A launch through the interface of nono-py.

    Raises:
        ImportError: it is not installed.
    """
    import nono_py  # noqa: PLC0415

    caps = nono_py.CapabilitySet()
    caps.block_network()
    for path in filter(os.path.isdir, SYSTEM):
        caps.allow_path(path, nono_py.AccessMode.READ)
    return lambda: nono_py.sandboxed_exec(caps, ["/usr/bin/true"], enforcement_mode="seccomp")


def main() -> None:
    """Measure; the first arm is what the others are compared with."""
    rounds, sandrun, bwrap = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
    arms = {
        "subprocess.run": by_subprocess(["true"]),
        "sandrun --exec, strict": by_subprocess([sandrun, "-q", "-p", "strict", "--exec", "--", "true"]),
        "sandrun strict": by_subprocess([sandrun, "-q", "-p", "strict", "--", "true"]),
        "sandrun default": by_subprocess([sandrun, "-q", "-p", "default", "--", "true"]),
        "bwrap": by_subprocess([*bwrap, "--", "true"]),
    }
    for name, make in (("sandlock", by_sandlock), ("nono-py", by_nono)):
        try:
            arms[name] = make()
        except ImportError:
            continue
    for call in arms.values():
        call()
    turns = {name: partial(seconds, call) for name, call in arms.items()}
    taken = take_turns(turns, rounds, "startup, from a Python process")
    json.dump(taken, sys.stdout)


if __name__ == "__main__":
    main()
