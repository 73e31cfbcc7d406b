"""Part `syscalls`: what the filters and Landlock cost each syscall, by a C program that does nothing else.

Of each arm the fastest of all rounds counts, since anything else on the machine only slows; the rounds' own ratios are
kept beside it as the spread.
"""

from __future__ import annotations

import os
import shutil
from functools import partial
from typing import TYPE_CHECKING, Any

from bench import peers, plot
from bench.timing import (
    SANDRUN,
    Arm,
    as_user,
    compare,
    compiled,
    environment,
    take_turns,
    told,
    users,
    why_not,
    workplace,
)

if TYPE_CHECKING:
    from pathlib import Path

ROUNDS, QUICK = 12, 2
OPENED = "/usr/lib/os-release"
BASE, LOOP = "bare", "a byte through"
FILTER, LANDLOCK = "floor: one instruction", "floor: and Landlock"
"""What any sandbox with a filter pays, and any with Landlock beside it; see bench/floor.c."""
GOAL = 1.08
"""The ratio that a loop of reads and writes of one byte is to stay at or below."""
DEVICES = ("-r", "/dev/zero", "-w", "/dev/null", "-r", OPENED)
"""What the loop opens."""
OPENS = ("--promise", "rpath", "--promise", "wpath")


def _arms(program: str) -> dict[str, Arm]:
    words = (program, OPENED)
    sandrun = (SANDRUN, "-q")
    return {
        BASE: Arm(words),
        "sandrun default": Arm((*sandrun, "-p", "default", *DEVICES[:2], "--", *words)),
        "sandrun strict": Arm((*sandrun, "-p", "strict", *OPENS, "-x", ".", *DEVICES, "--", *words)),
        "sandrun none, some files": Arm(
            (*sandrun, "-p", "none", "--isolate", "false", "-x", "@all", *DEVICES[:4], "--", *words)
        ),
        FILTER: Arm(("./floor", "filter", "--", *words)),
        LANDLOCK: Arm(("./floor", "filter", "landlock", "--", *words)),
        "bwrap, all namespaces": Arm((*peers.BWRAP, "--", *words)),
        "firejail default": Arm(("firejail", "--quiet", "--", compiled("loop"), OPENED)),
        **({"codex sandbox": Arm((peers.codex(), "sandbox", "--", *words))} if peers.codex() else {}),
    }


def _once(arm: Arm, env: dict[str, str], into: dict[str, list[float]]) -> float:
    for line in told(arm, env).splitlines():
        name, _, number = line.partition("\t")
        into.setdefault(name, []).append(float(number))
    return into[LOOP][-1]


def _bench(home: Path, rounds: int) -> dict[str, Any]:
    env = environment(str(home))
    arms = _arms("./loop")
    refused = {name: why for name, arm in arms.items() if (why := why_not(arm, env))}
    arms = {name: arm for name, arm in arms.items() if name not in refused}
    taken: dict[str, dict[str, list[float]]] = {name: {} for name in arms}
    runs = {name: partial(_once, arm, env, taken[name]) for name, arm in arms.items()}
    take_turns(runs, rounds, f"syscalls, uid {os.geteuid()}")
    by_call = {call: {name: found[call] for name, found in taken.items()} for call in taken[BASE]}
    return {
        "uid": os.geteuid(),
        "nanoseconds": {call: compare(found, BASE) for call, found in by_call.items()},
        "refused": refused,
    }


def run(quick: bool) -> dict[str, Any]:
    """Measure as each user."""
    results = []
    for uid in users():
        with workplace(uid) as home:
            for name in ("loop", "floor"):
                shutil.copy2(compiled(name), home / "project" / name)
            results.append(as_user(uid, partial(_bench, home, QUICK if quick else ROUNDS)))
    return {"results": results}


def show(result: dict[str, Any]) -> None:
    """Nanoseconds of each syscall, and the ratio to bare, of the fastest round."""
    for one in result["results"]:
        print(f"as uid {one['uid']}: nanoseconds (of bare)")
        calls = list(one["nanoseconds"])
        print(f"  {'':24}" + "".join(f"{call:>20}" for call in calls))
        for name in one["nanoseconds"][LOOP]:
            cells = [one["nanoseconds"][call][name] for call in calls]
            print(f"  {name:24}" + "".join(f"{cell['min']:12.0f} ({cell['ratio_of_min']:.2f})" for cell in cells))
        for name, why in one["refused"].items():
            print(f"  {name:24} does not run: {why}")
    print(f"goal: {LOOP}, at most {GOAL} of bare")


def plots(result: dict[str, Any]) -> dict[str, str]:
    """The loop of the ordinary user."""
    found = result["results"][-1]["nanoseconds"][LOOP]
    rows = {name: [cell["min"]] * 3 for name, cell in found.items()}
    return {"syscalls": plot.bars("One byte read and written", "Nanoseconds, fastest round; an ordinary user.", rows)}
