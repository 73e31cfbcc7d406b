"""Part `overlay`: what it costs to set changes aside and commit them, beside making them directly."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from bench.timing import SANDRUN, as_user, compare, environment, ordinary, take_turns, workplace

if TYPE_CHECKING:
    from pathlib import Path

ROUNDS, QUICK = 5, 1
CHANGES = {
    "1,000 small files": "mkdir new && cd new && i=0; while [ $i -lt 1000 ]; do echo $i >file$i; i=$((i+1)); done",
    "64 MiB in one file": "head -c 67108864 /dev/zero >big",
}
BASE = "directly"


def _changed(script: str, home: Path, overlay: bool) -> dict[str, float]:
    """Seconds of the command in a fresh directory, and of the commit of what it changed there."""
    env = environment(str(home))
    folder = home / "project" / "tree"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    words = ["sh", "-c", script]
    if overlay:
        words = [SANDRUN, "-q", "--overlay", ".", "--on-exit", "keep", "--", *words]
    began = time.perf_counter()
    subprocess.run(words, cwd=folder, env=env, check=True, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    made = time.perf_counter() - began
    if not overlay:
        return {"command": made}
    began = time.perf_counter()
    commit = [SANDRUN, "workspace", "commit"]
    subprocess.run(commit, cwd=folder, env=env, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    committed = time.perf_counter() - began
    if not os.listdir(folder):
        raise RuntimeError("nothing was committed")
    return {"command": made, "commit": committed}


def _bench(home: Path, rounds: int) -> dict[str, Any]:
    results = {}
    for title, script in CHANGES.items():
        commits: list[float] = []

        def directly(script: str = script) -> float:
            return _changed(script, home, overlay=False)["command"]

        def aside(script: str = script, commits: list[float] = commits) -> float:
            seconds = _changed(script, home, overlay=True)
            commits.append(seconds["commit"])
            return seconds["command"]

        taken = take_turns({BASE: directly, "set aside": aside}, rounds, title)
        results[title] = compare({**taken, "commit": commits}, BASE)
    return results


def run(quick: bool) -> dict[str, Any]:
    """Measure as the ordinary user."""
    with workplace(ordinary()) as home:
        changes = as_user(ordinary(), partial(_bench, home, QUICK if quick else ROUNDS))
    return {"uid": ordinary(), "changes": changes}


def show(result: dict[str, Any]) -> None:
    """Milliseconds, start-up of sandrun included, and the ratio to the same without it."""
    for title, arms in result["changes"].items():
        print(title)
        for name, numbers in arms.items():
            print(f"  {name:12} {1000 * numbers['median']:8.1f} ms  {numbers['ratio'][1]:6.2f} of {BASE}")
