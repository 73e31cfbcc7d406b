"""`make bench`: what a launch costs, beside the bare interpreter and other sandboxes, all in one run.

hyperfine measures each command a few times a round; the rounds are interleaved and their order shuffled, since a
machine's speed drifts. Every command runs `true`. As root the whole is measured twice: as root and as uid 1234; a
program that refuses to run for a user is listed with its message. Results go to bench/results/, a table to stdout.

Compare numbers of one table with each other only. Usage: bench.py [ROUNDS].
"""

from __future__ import annotations

import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

TOP = Path(__file__).parent.parent
RESULTS = TOP / "bench" / "results"
ROUNDS = 15
RUNS_A_ROUND = 4
USER = 1234
LIMIT = 1.3
"""How many times firejail's default profile a cold launch may take."""
PYTHON = str(Path(sys.prefix) / "bin" / "python")
SANDRUN = str(Path(sys.prefix) / "bin" / "sandrun")

IMPORTS = "import gc, os; gc.disable(); import click, landlock, prctl, pyseccomp, tomli; os._exit(0)"
NO_NAMESPACES = "sandrun default, no namespaces"
"""The same profile where no namespace can be made, so that Landlock and private directories keep what can be kept."""
WHERE_NONE_CAN_BE_MADE = [
    *("unshare", "--user", "--map-current-user", "--keep-caps", "sh", "-c"),
    'echo 0 >/proc/sys/user/max_user_namespaces && exec setpriv --bounding-set -all --ambient-caps -all --inh-caps -all "$@"',
    "sh",
]
LIMIT_OF_NAMESPACES = 12
"""How many milliseconds all namespaces may add to a launch."""
COMMANDS = {
    "true": "true",
    "python -I -S -c pass": f"{PYTHON} -I -S -c pass",
    "python -I -c pass": f"{PYTHON} -I -c pass",
    "python, the five packages": f'{PYTHON} -I -c "{IMPORTS}"',
    "sandrun strict": f"{SANDRUN} -q -p strict -- true",
    "sandrun default": f"{SANDRUN} -q -- true",
    NO_NAMESPACES: f"{SANDRUN} -q -- true",
    "bwrap, all namespaces": "bwrap --unshare-all --die-with-parent --ro-bind / / --dev /dev --proc /proc --tmpfs /tmp -- true",
    "firejail default": "firejail --quiet -- true",
    "firejail --noprofile": "firejail --quiet --noprofile -- true",
}


def before(name: str, uid: int) -> list[str]:
    """The words that start a measurement of this command as this user; what they take is not measured."""
    words = [] if uid == os.geteuid() else ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
    return words + (WHERE_NONE_CAN_BE_MADE if name == NO_NAMESPACES else [])


def environment(home: str) -> dict[str, str]:
    """A small, fixed environment: what is in it is searched and passed on."""
    return {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": os.path.dirname(home), "LANG": "C.UTF-8"}


def why_not(name: str, uid: int, home: str) -> str:
    """The last line of what a command says that does not run for this user, or "" if it runs."""
    done = subprocess.run(
        [*before(name, uid), "sh", "-c", COMMANDS[name]],
        check=False,
        capture_output=True,
        text=True,
        env=environment(home),
        cwd=home,
    )
    return ([*done.stderr.strip().splitlines(), f"status {done.returncode}"][0]) if done.returncode else ""


def measure(name: str, uid: int, home: str, runs: int) -> list[float]:
    """Seconds of each of `runs` launches."""
    with tempfile.NamedTemporaryFile(suffix=".json", dir="/tmp") as file:
        words = ["hyperfine", "-N", "--style", "none", "--warmup", "1", "--runs", str(runs), "--export-json", file.name]
        os.chmod(file.name, 0o666)
        subprocess.run(
            [*before(name, uid), *words, COMMANDS[name]],
            check=True,
            capture_output=True,
            env=environment(home),
            cwd=home,
        )
        return list(json.loads(Path(file.name).read_text())["results"][0]["times"])


def bench(uid: int, rounds: int) -> dict[str, Any]:
    """Every command for one user: name → seconds, or the reason why there are none."""
    with tempfile.TemporaryDirectory(dir="/tmp") as base:
        os.chmod(base, 0o755)
        home = f"{base}/project"
        os.mkdir(home)
        os.chown(home, uid, uid)
        refused = {name: why for name in COMMANDS if (why := why_not(name, uid, home))}
        times: dict[str, list[float]] = {name: [] for name in COMMANDS if name not in refused}
        for number in range(rounds):
            print(f"\ruid {uid}: round {number + 1} of {rounds}", end="", file=sys.stderr, flush=True)
            for name in random.sample(list(times), len(times)):
                times[name] += measure(name, uid, home, RUNS_A_ROUND)
        print(file=sys.stderr)
    return {"uid": uid, "seconds": times, "refused": refused}


def show(result: dict[str, Any]) -> None:
    """One user's table, in milliseconds, and how sandrun stands against the goal."""
    title = f"as uid {result['uid']}:"
    print(f"{title:33} {'median':>8} {'min':>8} {'max':>8}   ms")
    medians = {name: statistics.median(times) for name, times in result["seconds"].items()}
    for name in COMMANDS:
        if name in medians:
            times = result["seconds"][name]
            row = " ".join(f"{1000 * value:8.1f}" for value in (medians[name], min(times), max(times)))
            print(f"  {name:31} {row}")
        else:
            print(f"  {name:31} does not run: {result['refused'][name]}")
    for name in ("sandrun strict", "sandrun default"):
        if name in medians and "firejail default" in medians:
            ratio = medians[name] / medians["firejail default"]
            print(f"  {name}: {ratio:.2f} x firejail default (goal: at most {LIMIT})")
    if NO_NAMESPACES in medians and "sandrun default" in medians:
        added = 1000 * (medians["sandrun default"] - medians[NO_NAMESPACES])
        print(f"  namespaces add {added:.1f} ms to sandrun default (goal: at most {LIMIT_OF_NAMESPACES})")
    print()


def main() -> None:
    """Measure, show, and keep the results."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    users = [os.geteuid()] + ([USER] if os.geteuid() == 0 else [])
    results = [bench(uid, rounds) for uid in users]
    for result in results:
        show(result)
    RESULTS.mkdir(exist_ok=True)
    machine = {"kernel": platform.release(), "machine": platform.machine(), "python": platform.python_version()}
    path = RESULTS / "latest.json"
    # Where the checkout lies says nothing to a reader.
    commands = {name: command.replace(f"{TOP}/", "") for name, command in COMMANDS.items()}
    path.write_text(json.dumps({"machine": machine, "commands": commands, "results": results}, indent=1) + "\n")
    print(f"written: {path.relative_to(TOP)}")


if __name__ == "__main__":
    main()
