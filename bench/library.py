"""Part `library`: what a launch from a Python program costs, beside subprocess.run, with and without busy threads."""

from __future__ import annotations

import json
import os
import subprocess
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from bench.startup import RACY
from bench.timing import PYTHON, TOP, as_user, compare, environment, kept, users, workplace

if TYPE_CHECKING:
    from pathlib import Path

THREADS = ("0", "8")
"""How many are busy, in the words of busy.py and of the results."""
ROUNDS, QUICK = 75, 3
"""Of launches, for each number of threads. With eight busy ones a round takes a third of a second: more is not worth the wait."""
BASE = "subprocess.run"
GOALS = (("sandrun.run", "subprocess.run, bwrap", 0.8), ("sandrun.run", BASE, 4.0))
"""An arm, what it is held against, and what the ratio of the medians is to stay at or below, with the busy threads."""


def _bench(home: Path, rounds: int) -> dict[str, Any]:
    env = {**environment(str(home)), "PYTHONPATH": str(TOP)}
    time.sleep(RACY)
    results: dict[str, Any] = {"warm": True}
    for threads in THREADS:
        words = [PYTHON, str(TOP / "bench" / "busy.py"), str(rounds), threads]
        before = kept(env["SANDRUN_CACHE"])
        done = subprocess.run(words, env=env, check=True, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
        results[threads] = json.loads(done.stdout)
        results["warm"] &= bool(kept(env["SANDRUN_CACHE"])) and before in ({}, kept(env["SANDRUN_CACHE"]))
    return {"uid": os.geteuid(), **results}


def run(quick: bool) -> dict[str, Any]:
    """Measure as each user."""
    results = []
    for uid in users():
        with workplace(uid) as home:
            one = as_user(uid, partial(_bench, home, QUICK if quick else ROUNDS))
        threads = {count: compare(one[count]["taken"], BASE) for count in THREADS}
        busy = threads[THREADS[-1]]
        goals = [
            {"arm": arm, "of": base, "ratio": busy[arm]["median"] / busy[base]["median"], "goal": goal}
            for arm, base, goal in GOALS
        ]
        left = {count: one[count]["left"] for count in THREADS}
        results.append({"uid": uid, "warm": one["warm"], "threads": threads, "goals": goals, "left": left})
    return {"results": results}


def show(result: dict[str, Any]) -> None:
    """A table a user and number of threads, in milliseconds, and how it stands against the goals."""
    for one in result["results"]:
        print(f"as uid {one['uid']}:{'' if one['warm'] else ' NOT WARM: a plan was made anew'}")
        for count, arms in one["threads"].items():
            for name, numbers in arms.items():
                millis = f"{1000 * numbers['median']:8.2f} {1000 * numbers['min']:8.2f} ms"
                print(f"  {count} busy threads: {name:24} {millis}  {numbers['ratio'][1]:6.2f} of {BASE}")
            print(f"  left: {one['left'][count]}")
        for goal in one["goals"]:
            verdict = "met" if goal["ratio"] <= goal["goal"] else "MISSED"
            print(f"  {goal['arm']}: {goal['ratio']:.2f} x {goal['of']} (at most {goal['goal']}: {verdict})")
