"""Part `cost`: what a launch and a command cost with ever more rules, and the law by which it grows.

The law is fitted as t = a + b * n^k: a is the time with the fewest rules, k the slope of the rest on axes of logarithms.
k about 0 is constant (or too small to see), 1 linear, 2 quadratic. Nothing better than linear can be asked of a launch
that must hand every rule to the kernel.
"""

from __future__ import annotations

import math
import shutil
import statistics
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from bench import plot
from bench.syscalls import DEVICES, OPENED
from bench.timing import (
    SANDRUN,
    Arm,
    as_user,
    compiled,
    environment,
    launch,
    ordinary,
    take_turns,
    told,
    why_not,
    workplace,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

ROUNDS, QUICK = 7, 2
PATHS = (1, 10, 100, 1000, 9000)
"""A launch takes 10,000 path rules at most (sandrun.plan.siblings), with those of the profile."""
SYSCALLS = (1, 10, 100, 400)
HOSTS = (1, 10, 100, 1000)
SMALLEST_RISE = 0.1
"""Part of the time with the fewest rules that a rise must reach before a law is fitted to it."""
_BASICS = (
    "read write close fstat lseek mmap mprotect munmap brk rt_sigaction rt_sigprocmask pread64 access execve exit"
    " exit_group openat newfstatat arch_prctl set_tid_address set_robust_list rseq prlimit64 getrandom getppid"
)


def _syscall_names(count: int) -> list[str]:
    """What `true` and the loop need, and numbers of others up to `count`."""
    return [*_BASICS.split(), *map(str, range(200, 200 + count))][: max(count, len(_BASICS.split()))]


def _profile(file: Path, table: str, key: str, values: Sequence[str], base: str) -> str:
    text = ", ".join(f'"{value}"' for value in values)
    file.write_text(f'schema = 1\ndescription = "bench"\nextends = "builtin:{base}"\n\n[{table}]\n{key} = [{text}]\n')
    return str(file)


def _profiles(home: Path) -> dict[str, dict[int, str]]:
    """What grows: number of rules → profile."""
    many = home / "project" / "many"
    many.mkdir()
    for number in range(max(PATHS)):
        (many / f"file{number}").touch()
    folder = home / "profiles"
    folder.mkdir()
    return {
        "paths": {
            count: _profile(
                folder / f"paths{count}.toml", "filesystem", "read", [f"{many}/file{at}" for at in range(count)], "strict"
            )
            for count in PATHS
        },
        "syscalls": {
            count: _profile(folder / f"syscalls{count}.toml", "syscalls", "allow", _syscall_names(count), "strict")
            for count in SYSCALLS
        },
        "hosts": {
            count: _profile(
                folder / f"hosts{count}.toml", "network", "connect", [f"h{at}.example.com:443" for at in range(count)],
                "strict",
            )
            for count in HOSTS
        },
    }  # fmt: skip


def law(points: Mapping[int, float]) -> dict[str, float | None]:
    """The exponent of the growth beyond the smallest number of rules, and what one more rule costs, in seconds.

    The exponent is 0 where nothing rises by more than SMALLEST_RISE, and None where only one point does: no law then.
    """
    numbers = sorted(points)
    start = points[numbers[0]]
    risen = [(math.log(n), math.log(points[n] - start)) for n in numbers if points[n] > start * (1 + SMALLEST_RISE)]
    each = (points[numbers[-1]] - start) / (numbers[-1] - numbers[0])
    if len(risen) < 2:
        return {"exponent": None if risen else 0.0, "seconds_each": each}
    return {"exponent": max(0.0, statistics.linear_regression(*zip(*risen, strict=True)).slope), "seconds_each": each}


def _openings(arm: Arm, env: dict[str, str]) -> float:
    """Seconds of one openat(2) with close(2) inside."""
    lines = dict(line.split("\t") for line in told(arm, env).splitlines())
    return float(lines["openat, close"]) / 1e9


def _bench(home: Path, rounds: int) -> dict[str, Any]:
    env = environment(str(home))
    results: dict[str, Any] = {"launch": {}, "inside": {}, "refused": {}}
    cold = {"SANDRUN_CACHE": "off"}
    inside: dict[str, Any] = {}
    for title, profiles in _profiles(home).items():
        arms = {}
        for count, profile in profiles.items():
            words = (SANDRUN, "-q", "-p", profile, "--", "true")
            arms[f"{title}, cold\t{count}"] = Arm(words, cold)
            arms[f"{title}, warm\t{count}"] = Arm(words)
            if title == "paths":
                loop = (SANDRUN, "-q", "-p", profile, "--promise", "rpath", "--promise", "wpath", "-x", ".", *DEVICES)
                inside[f"openat with so many paths\t{count}"] = Arm((*loop, "--", "./loop", OPENED))
        time.sleep(2.1)
        arms = {name: arm for name, arm in arms.items() if not _refused(name, arm, env, results)}
        runs = {name: partial(_wall, arm, env) for name, arm in arms.items()}
        _sort(results["launch"], take_turns(runs, rounds, f"cost of {title}"))
    inside = {name: arm for name, arm in inside.items() if not _refused(name, arm, env, results)}
    runs = {name: partial(_openings, arm, env) for name, arm in inside.items()}
    _sort(results["inside"], take_turns(runs, rounds, "cost inside"))
    return results


def _refused(name: str, arm: Arm, env: dict[str, str], results: dict[str, Any]) -> bool:
    if why := why_not(arm, env):
        results["refused"][name.replace("\t", ": ")] = why
    return bool(why)


def _wall(arm: Arm, env: dict[str, str]) -> float:
    return launch(arm, env).wall


def _sort(into: dict[str, dict[int, float]], taken: dict[str, list[float]]) -> None:
    """Minimum of each, by what grows and then by the number of rules: anything else on the machine only adds."""
    for name, numbers in taken.items():
        title, _, count = name.partition("\t")
        into.setdefault(title, {})[int(count)] = min(numbers)


def run(quick: bool) -> dict[str, Any]:
    """Measure as the ordinary user."""
    with workplace(ordinary()) as home:
        shutil.copy2(compiled("loop"), home / "project" / "loop")
        result = as_user(ordinary(), partial(_bench, home, QUICK if quick else ROUNDS))
    laws = {
        f"{part}: {title}": law({int(count): seconds for count, seconds in points.items()})
        for part in ("launch", "inside")
        for title, points in result[part].items()
    }
    return {"uid": ordinary(), **result, "laws": laws}


def show(result: dict[str, Any]) -> None:
    """Milliseconds by number of rules, and the laws."""
    for part, factor, unit in (("launch", 1e3, "ms"), ("inside", 1e9, "ns")):
        for title, points in result[part].items():
            cells = "  ".join(f"{count}: {seconds * factor:.4g}" for count, seconds in points.items())
            fitted = result["laws"][f"{part}: {title}"]
            each = f"{1e6 * fitted['seconds_each']:.3g} us each more"
            exponent = "too few rise" if fitted["exponent"] is None else f"~ n^{fitted['exponent']:.2f}"
            print(f"  {title:28} {unit}  {cells}   {exponent}, {each}")
    for name, why in result["refused"].items():
        print(f"  {name}: does not run: {why}")


def plots(result: dict[str, Any]) -> dict[str, str]:
    """Launches over the number of rules."""
    series = {
        title: {float(count): 1000 * seconds for count, seconds in points.items()}
        for title, points in result["launch"].items()
    }
    return {
        "cost": plot.lines("A launch with ever more rules", "Milliseconds, fastest, over the number of rules.", series)
    }
