"""Launches of `true` from one Python program with so many busy threads; run by library.py.

Usage: busy.py ROUNDS THREADS. Prints JSON: arm to seconds by round, and what is left of it all. Arms take turns.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from functools import partial

import sandrun
from bench.timing import seconds, take_turns

BWRAP = ("bwrap", "--unshare-all", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "true")


def _descriptors() -> list[str]:
    return os.listdir("/proc/self/fd")


def _children() -> list[str]:
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        return file.read().split()


def main() -> None:
    """Measure; the first arm is what the others are compared with."""
    rounds, count = int(sys.argv[1]), int(sys.argv[2])
    arms = {
        "subprocess.run": lambda: subprocess.run(["true"], check=True),
        "subprocess.run, bwrap": lambda: subprocess.run(BWRAP, check=True),
        "sandrun.run": lambda: sandrun.run(["true"], check=True),
        "sandrun.run, strict": lambda: sandrun.run(["true"], check=True, profile="strict"),
    }
    for call in arms.values():
        call()
        call()  # what is kept for next time is kept now
    before = _descriptors()
    stop = threading.Event()

    def be_busy() -> None:
        while not stop.is_set():
            sum(range(1000))

    threads = [threading.Thread(target=be_busy) for _ in range(count)]
    for thread in threads:
        thread.start()
    turns = {name: partial(seconds, call) for name, call in arms.items()}
    taken = take_turns(turns, rounds, f"library, uid {os.geteuid()}, {count} busy threads")
    stop.set()
    for thread in threads:
        thread.join()
    left = {"descriptors": len(_descriptors()) - len(before), "children": len(_children())}
    json.dump({"taken": taken, "left": left}, sys.stdout)


if __name__ == "__main__":
    main()
