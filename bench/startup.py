"""Part `startup`: what a launch of `true` costs, beside the bare interpreter and other sandboxes, all in one run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from bench import peers, plot
from bench.timing import (
    SANDRUN,
    TOP,
    Arm,
    as_user,
    compare,
    environment,
    kept,
    launch,
    ordinary,
    take_turns,
    users,
    why_not,
    workplace,
)

if TYPE_CHECKING:
    from pathlib import Path

ROUNDS, QUICK = 40, 3
PAIR_ROUNDS = 3
"""How many times the rounds two arms take turns alone: there are but two, and quick ones."""
RACY = 2.1
"""Seconds that a file must be old before a plan made of it is kept."""
BASE = "true"
BWRAP = "bwrap, all namespaces"
BWRAP_TO_THE_END = f"{BWRAP}, to the end of its last process"
GOALS = (
    ("sandrun strict, warm", BWRAP, 0.8),
    ("sandrun default, warm", BWRAP, 1.1),
    ("sandrun --exec, strict", "true", 4.0),
    ("sandrun default, cold", "firejail default", 1.0),
    ("sandrun strict, Python executor, warm", "python -I -c pass", 1.5),
)
"""An arm, what it is held against, and the ratio that it is to stay at or below."""


def _arms(home: str) -> dict[str, Arm]:
    sandboxes = {name: Arm((*arm.words, "true"), arm.env, arm.before) for name, arm in peers.wrappers(home).items()}
    # bwrap ends while the init of its pid namespace still does; sandrun ends when all has.
    sandboxes[BWRAP_TO_THE_END] = Arm(sandboxes[BWRAP].words, to_the_end=True)
    return {**peers.bare(), **sandboxes}


def _bench(home: Path, rounds: int) -> dict[str, Any]:
    """Every arm for the user that this process runs as."""
    env = environment(str(home))
    time.sleep(RACY)
    arms = _arms(str(home))
    refused = {name: why for name, arm in arms.items() if (why := why_not(arm, env))}
    arms = {name: arm for name, arm in arms.items() if name not in refused}
    seen = {name: peers.isolation(arm, env, home) for name, arm in peers.wrappers(str(home)).items() if name in arms}
    seen |= {BWRAP_TO_THE_END: seen[BWRAP]} if BWRAP in seen else {}
    for arm in arms.values():  # what is kept for next time is kept now
        launch(arm, env)
    plans = kept(env["SANDRUN_CACHE"])
    runs = {name: partial(_wall, arm, env) for name, arm in arms.items()}
    taken = take_turns(runs, rounds, f"startup, uid {os.geteuid()}")
    pairs = [
        take_turns({name: runs[name] for name in pair}, PAIR_ROUNDS * rounds, f"{' and '.join(pair)} by turns")
        for *pair, _ in GOALS
        if runs.keys() >= set(pair)
    ]
    warm = bool(plans) and plans == kept(env["SANDRUN_CACHE"])
    return {"uid": os.geteuid(), "seconds": taken, "pairs": pairs, "refused": refused, "isolation": seen, "warm": warm}


def _wall(arm: Arm, env: dict[str, str]) -> float:
    return launch(arm, env).wall


def _warm_process(home: Path, rounds: int) -> dict[str, list[float]]:
    """Seconds of launches from one Python process that lives on, by arm; see bench/warm.py."""
    env = {**environment(str(home)), "PYTHONPATH": str(TOP)}
    python = peers.PEER_PYTHON if os.path.exists(peers.PEER_PYTHON) else sys.executable
    words = [python, str(TOP / "bench" / "warm.py"), str(rounds), SANDRUN, *peers.BWRAP]
    done = subprocess.run(words, env=env, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(done.stdout))


def _goals(seconds: dict[str, list[float]], pairs: list[dict[str, list[float]]]) -> list[dict[str, Any]]:
    """How each goal stands among all arms, and where the two take turns alone.

    The kernel goes on cleaning up, on another processor, after who made namespaces and has ended; in a mixed order that
    is at the cost of whoever comes next, most of all of a launch that uses two processors itself.
    """
    return [
        {"arm": arm, "of": base, "ratio": _ratio(seconds, arm, base), "ratio_by_turns": _ratio(pair, arm, base),
         "goal": goal}
        for arm, base, goal in GOALS
        for pair in pairs
        if pair.keys() == {arm, base}
    ]  # fmt: skip


def _ratio(seconds: dict[str, list[float]], arm: str, base: str) -> list[float]:
    return list(compare({arm: seconds[arm], base: seconds[base]}, base)[arm]["ratio"])


def run(quick: bool) -> dict[str, Any]:
    """Measure as each user."""
    rounds = QUICK if quick else ROUNDS
    results = []
    for uid in users():
        with workplace(uid) as home:
            result = as_user(uid, partial(_bench, home, rounds))
            seconds = result.pop("seconds")
            result["arms"] = compare(seconds, BASE)
            result["goals"] = _goals(seconds, result.pop("pairs"))
            if uid == ordinary():
                warm = as_user(uid, partial(_warm_process, home, rounds))
                result["warm_process"] = compare(warm, next(iter(warm)))
            results.append(result)
    return {"results": results, "missing": peers.missing()}


def show(result: dict[str, Any]) -> None:
    """A table a user, in milliseconds, and how sandrun stands against the goals."""
    for one in result["results"]:
        title = f"as uid {one['uid']}:"
        if not one["warm"]:
            print("NOT WARM: no plan was kept, or one was made anew: did a source file change?")
        print(f"{title:42} {'median':>8} {'min':>8}   ms    of {BASE} (quartiles)")
        for name, numbers in one["arms"].items():
            first, median, third = numbers["ratio"]
            millis = f"{1000 * numbers['median']:8.1f} {1000 * numbers['min']:8.1f}"
            print(f"  {name:40} {millis}   {median:9.1f} ({first:.1f}-{third:.1f})")
        for name, why in one["refused"].items():
            print(f"  {name:40} does not run: {why}")
        for goal in one["goals"]:
            verdicts = [
                f"{goal[key][1]:.2f}, {'met' if goal[key][1] <= goal['goal'] else 'MISSED'}"
                for key in ("ratio", "ratio_by_turns")
            ]
            print(f"  {goal['arm']}, of {goal['of']}, at most {goal['goal']}: {verdicts[0]}; by turns: {verdicts[1]}")
        for name, numbers in one.get("warm_process", {}).items():
            print(f"  from a warm Python process: {name:28} {1000 * numbers['median']:8.2f} ms")
        print()
    for name, why in result["missing"].items():
        print(f"not measured: {name}: {why}")


def plots(result: dict[str, Any]) -> dict[str, str]:
    """Start-up of the ordinary user, as times that of bare `true`."""
    one = result["results"][-1]
    rows = {name: numbers["ratio"] for name, numbers in one["arms"].items()}
    ordered = dict(sorted(rows.items(), key=lambda row: row[1][1]))
    subtitle = "Times as long as `true` by itself, median and quartiles, logarithmic; an ordinary user."
    return {"startup": plot.bars("A launch of true", subtitle, ordered)}
