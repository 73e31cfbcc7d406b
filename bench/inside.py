"""Part `inside`: what programs pay for running in a sandbox, beside the same programs without one.

Times are taken inside by bench/timed.c, so they hold no start-up of any sandbox. Arms take turns in mixed order.

What opens many small files pays for Landlock: at each open(2) the kernel walks from the file up to the root directory and
looks for a rule at each name on the way. So the least of Landlock, of bench/floor.c, is measured beside.
"""

from __future__ import annotations

import os
import shutil
import statistics
from functools import partial
from typing import TYPE_CHECKING, Any

from bench import peers, plot, serving
from bench.timing import (
    SANDRUN,
    Arm,
    as_user,
    compare,
    compiled,
    environment,
    ordinary,
    take_turns,
    told,
    why_not,
    workplace,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

ROUNDS, QUICK = 6, 1
BASE = "bare"
LANDLOCK, BOTH = "floor: Landlock", "floor: and a filter"
"""One layer with one rule, and a filter of one instruction beside it."""
GOAL = 1 / 0.98
"""The ratio of times that throughput at 0.98 of bare allows."""
TREES = ("/usr/include", "/usr/lib/python3")
SOURCES, FUNCTIONS = 2, 200


def _workloads(project: Path) -> dict[str, tuple[int, Sequence[str]]]:
    """name → how often a round, and the command. The sources that are compiled are made here."""
    for number in range(SOURCES):
        body = "".join(
            f'int f{number}_{at}(int x) {{ char text[64]; return snprintf(text, 64, "%d", x * {at}) + text[x & 7]; }}\n'
            for at in range(FUNCTIONS)
        )
        (project / f"part{number}.c").write_text(f"#include <stdio.h>\n{body}")
    compile_all = 'for n in "$@"; do cc -O1 -c -o part.o part$n.c || exit; done'
    return {
        "ripgrep": (
            4,
            ("rg", "-c", "-j", "2", "--no-messages", "return [a-z]+_[a-z]+", *filter(os.path.isdir, TREES)),
        ),
        "C compile": (1, ("sh", "-c", compile_all, "sh", *map(str, range(SOURCES)))),
        "Python start-up": (10, ("/usr/bin/python3", "-I", "-c", "import json, re, subprocess")),
    }


def _sandboxes() -> dict[str, Arm]:
    """What stands in front of each workload."""
    files = ("-x", "@all", "-w", ".", "-w", "@devices")
    return {
        BASE: Arm(()),
        "sandrun, files only": Arm((SANDRUN, "-q", "-p", "none", "--isolate", "false", *files, "--")),
        "sandrun default": Arm((SANDRUN, "-q", "-p", "default", "--")),
        LANDLOCK: Arm(("./floor", "landlock", "--")),
        BOTH: Arm(("./floor", "landlock", "filter", "--")),
        "bwrap": Arm((*peers.BWRAP, "--bind", os.getcwd(), os.getcwd(), "--")),
    }


def _once(arm: Arm, env: dict[str, str]) -> float:
    return statistics.median(map(float, told(arm, env).split())) / 1e9


def _bench(home: Path, rounds: int) -> dict[str, Any]:
    env = environment(str(home))
    results: dict[str, Any] = {"workloads": {}, "refused": {}}
    for title, (times, words) in _workloads(home / "project").items():
        timed = ("./timed", str(times), *words)
        arms = {name: Arm((*arm.words, *timed), arm.env) for name, arm in _sandboxes().items()}
        for name, arm in list(arms.items()):
            if why := why_not(arm, env):
                results["refused"][f"{title}: {name}"] = why
                del arms[name]
        runs = {name: partial(_once, arm, env) for name, arm in arms.items()}
        results["workloads"][title] = compare(take_turns(runs, rounds, title), BASE)
    return results


def run(quick: bool) -> dict[str, Any]:
    """Measure as the ordinary user; the servers too."""
    rounds = QUICK if quick else ROUNDS
    with workplace(ordinary()) as home:
        for name in ("timed", "floor"):
            shutil.copy2(compiled(name), home / "project" / name)
        result = as_user(ordinary(), partial(_bench, home, rounds))
        result["nginx"] = as_user(ordinary(), partial(serving.nginx, home, rounds))
        result["split"] = as_user(ordinary(), partial(serving.split, home, rounds))
    return {"uid": ordinary(), **result}


def show(result: dict[str, Any]) -> None:
    """Times of bare, and of the others as ratios; throughput where that is measured."""
    for title, arms in result["workloads"].items():
        print(f"{title}: bare {1000 * arms[BASE]['median']:.1f} ms")
        for name, numbers in arms.items():
            first, median, third = numbers["ratio"]
            print(f"  {name:28} {median:6.3f} of bare ({first:.3f}-{third:.3f}), fastest {numbers['ratio_of_min']:.3f}")
    for title in ("nginx", "split"):
        first = next(iter(result[title].values()))
        print(f"{title}: {next(iter(result[title]))} {first['median']:.4g} {serving.UNITS[title]}")
        for name, numbers in result[title].items():
            low, median, high = numbers["ratio"]
            print(f"  {name:28} {median:6.3f} of that ({low:.3f}-{high:.3f})")
    for name, why in result["refused"].items():
        print(f"  {name}: does not run: {why}")
    print(f"goal: times at most {GOAL:.3f}, throughput at least 0.98")


def plots(result: dict[str, Any]) -> dict[str, str]:
    """Throughput, as a part of that without a sandbox."""
    rows = {
        f"{name}: {title}": [1 / ratio for ratio in reversed(numbers["ratio"])]
        for title, arms in result["workloads"].items()
        for name, numbers in arms.items()
        if name != BASE
    }
    rows |= {f"{name}: nginx": numbers["ratio"] for name, numbers in result["nginx"].items() if name != BASE}
    subtitle = "Throughput as a part of bare, median and quartiles; an ordinary user."
    return {"inside": plot.bars("Programs inside", subtitle, rows)}
