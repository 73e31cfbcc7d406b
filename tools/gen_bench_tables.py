#!/usr/bin/env python3
"""Write the tables of README.md anew from the newest numbers in bench/results/; `make bench` does it.

A table stands between `<!-- bench: NAME -->` and `<!-- end of bench -->`. No number in there is written by hand, and a
test holds README.md to the numbers.
"""

from __future__ import annotations

import json
import re
import statistics
from pathlib import Path
from typing import Any

TOP = Path(__file__).resolve().parent.parent
RESULTS = TOP / "bench" / "results"
REGION = re.compile(r"(<!-- bench: ([a-z]+) -->\n).*?(<!-- end of bench -->)", re.DOTALL)
EVERY_NAMESPACE = 6
MOST_OWN_PROCESSES = 5
"""As many are in a pid namespace with one command in it."""
SMALLEST_EXPONENT = 0.2
"""Below this a growth is noise."""


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(row)} |\n" for row in lines)


def _number(value: float) -> str:
    """Three digits that mean something, without an exponent."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _spread(ratio: list[float]) -> str:
    return f"{_number(ratio[1])} ({_number(ratio[0])}-{_number(ratio[2])})"


def machine(facts: dict[str, Any]) -> str:
    """The machine in one sentence."""
    kind = "a virtual machine with " if facts["virtual"] else ""
    return (
        f"Measured {facts['date'][:10]} on {kind}{facts['processors']} processors ({facts['processor']}), "
        f"Linux {facts['kernel']}, {facts['versions'].get('python', 'Python')}.\n"
    )


def _isolates(seen: dict[str, Any] | None) -> str:
    """What a command has in a sandbox, in a few words."""
    if seen is None:
        return ""
    if not seen:
        return "may open nothing to look at itself"
    count = len(seen["namespaces"])
    words = ["all namespaces" if count == EVERY_NAMESPACE else f"{count} namespaces"] if count else []
    words += ["seccomp"] if seen["seccomp_filters"] else []
    words += ["no_new_privs"] if seen["no_new_privs"] else []
    words += ["capabilities kept"] if seen["capabilities"] else []
    words += ["reads the home"] if seen["reads_home"] else []
    words += ["writes the home"] if seen["writes_home"] else []
    words += ["sees other processes"] if seen["processes_seen"] > MOST_OWN_PROCESSES else []
    return ", ".join(words)


def startup(result: dict[str, Any]) -> str:
    """Start-up of every arm, fastest first, for the ordinary user and for root; the goals; who is missing."""
    users = result["results"][::-1]
    first = users[0]["arms"]
    names = sorted({name for one in users for name in one["arms"]}, key=lambda name: _order(users, name))
    rows = []
    for name in names:
        seen = next((one["isolation"][name] for one in users if name in one["isolation"]), None)
        cells = [
            f"{_number(1000 * one['arms'][name]['median'])} ms, {_spread(one['arms'][name]['ratio'])}"
            if name in one["arms"]
            else "does not run"
            for one in users
        ]
        rows.append([f"`{name}`" if name in ("true",) else name, *cells, _isolates(seen)])
    who = ["root" if one["uid"] == 0 else "an ordinary user" for one in users]
    text = _table(["launch of `true`", *who, "the command"], rows)
    text += "\nMilliseconds are medians; beside them how many times that of bare `true`, with quartiles.\n\n"
    ways = [(one, key) for one in users for key in ("ratio", "ratio_by_turns")]
    text += _table(
        ["aim", "wanted at most", *(f"{name}{way}" for name in who for way in (", among all", ", the two by turns"))],
        [
            [f"{goal['arm']}, of {goal['of']}", f"{goal['goal']}", *(_reached(one, goal, key) for one, key in ways)]
            for goal in max((one["goals"] for one in users), key=len)
        ],
    )
    if warm := next((one["warm_process"] for one in users if "warm_process" in one), None):
        rows = [[name, _number(1000 * cell["median"]), _spread(cell["ratio"])] for name, cell in warm.items()]
        text += "\n" + _table(["from a Python process that is there", "ms", "of `subprocess.run`"], rows)
    missing = "; ".join(f"{name} ({why})" for name, why in result["missing"].items())
    return f"{text}\nNot measured: {missing}.\n" if missing and first else text


def _order(users: list[dict[str, Any]], name: str) -> float:
    return next(float(one["arms"][name]["ratio"][1]) for one in users if name in one["arms"])


def _reached(one: dict[str, Any], goal: dict[str, Any], key: str) -> str:
    for mine in one["goals"]:
        if (mine["arm"], mine["of"]) == (goal["arm"], goal["of"]):
            return f"{mine[key][1]:.2f}{'' if mine[key][1] <= mine['goal'] else ' (missed)'}"
    return ""


def syscalls(result: dict[str, Any]) -> str:
    """What each syscall takes in each sandbox, as times those of bare."""
    one = result["results"][-1]
    calls = list(one["nanoseconds"])
    names = list(one["nanoseconds"][calls[0]])
    rows = [
        [name, *(f"{cell['min']:.0f} ns, {cell['ratio_of_min']:.2f}" for cell in (one["nanoseconds"][call][name] for call in calls))]
        for name in names
    ]  # fmt: skip
    return _table(["fastest of all rounds, of bare", *calls], rows)


def inside(result: dict[str, Any]) -> str:
    """Throughput inside as a part of that outside."""
    rows = []
    for title, arms in result["workloads"].items():
        for name, cell in arms.items():
            if name != "bare":
                rows.append([title, name, _spread([1 / ratio for ratio in reversed(cell["ratio"])])])
    for title, label in (("nginx", "nginx under wrk"), ("split", "receiving and writing")):
        rows += [[label, name, _spread(cell["ratio"])] for name, cell in result[title].items() if name != "bare"]
    return _table(["what runs", "sandbox", "throughput of bare"], rows)


def scale(result: dict[str, Any]) -> str:
    """Many at once, and many in a row."""
    rows = []
    for name, counts in result["at_once"].items():
        for count, cell in counts.items():
            memory = "" if cell["pss_kb_each"] is None else _number(cell["pss_kb_each"])
            idle = f"{cell['idle_cpu_seconds']:.2f} s, {cell['idle_wakeups']} wake-ups"
            rows.append([name, count, _number(cell["launches_per_second"]), memory, idle])
    row = result["in_a_row"]
    grown = ", ".join(f"{what} by {count}" for what, count in row["grown"].items()) or "nothing"
    return (
        _table(
            ["sandboxes of `sleep`", "at once", "launches a second", "PSS each, kB", "processor time while idle"], rows
        )
        + f"\n{row['launches']:,} launches in a row: {_number(row['ms_first_tenth'])} ms each in the first tenth, "
        f"{_number(row['ms_last_tenth'])} in the last; grown: {grown}.\n"
    )


def cost(result: dict[str, Any]) -> str:
    """Launches with ever more rules, and the law."""
    rows = []
    for part, factor, unit in (("launch", 1e3, "ms"), ("inside", 1e9, "ns")):
        for title, points in result[part].items():
            cells = ", ".join(f"{int(count):,}: {_number(seconds * factor)}" for count, seconds in points.items())
            fitted = result["laws"][f"{part}: {title}"]
            rows.append([title, f"{cells} {unit}", _law(fitted["exponent"])])
    return _table(["number of", "rules: time", "growth"], rows)


def _law(exponent: float | None) -> str:
    """The growth beyond the smallest number of rules, in words where there is no law to tell."""
    if exponent is None:
        return "only the last is slower"
    return f"n^{exponent:.1f}" if exponent >= SMALLEST_EXPONENT else "constant"


def overlay(result: dict[str, Any]) -> str:
    """Changes set aside and committed."""
    rows = [
        [title, name, _number(1000 * cell["median"]), _number(cell["ratio"][1])]
        for title, arms in result["changes"].items()
        for name, cell in arms.items()
    ]
    return _table(["changes", "", "ms", "of directly"], rows)


def relay(result: dict[str, Any]) -> str:
    """What goes directly beside what goes through the relay; the fastest of all rounds."""
    taken = {
        what: {arm: min(times) for arm, times in arms.items() if times} for what, arms in result["seconds"].items()
    }
    bulk = [
        [
            f"1 GiB in {what.split()[1]} stream(s)",
            *(f"{2**30 / arms[arm] / 1e9:.2f} GB/s" for arm in ("direct", "relay")),
        ]
        for what, arms in taken.items()
        if what.startswith("bulk")
    ]
    opened, echo = (taken[what] for what in ("opened", "echo"))
    start = [f"{1000 * statistics.median(times):.0f} ms" for times in result["start"].values()]
    return _table(
        ["", "direct", "through the relay"],
        [
            *bulk,
            [
                "a connection, one byte and one back",
                *(f"{1e6 * opened[arm] / 2000:.0f} \u00b5s" for arm in ("direct", "relay")),
            ],
            [
                "on a connection, one byte and one back",
                *(f"{1e6 * echo[arm]:.0f} \u00b5s" for arm in ("direct", "relay")),
            ],
            ["launch of `true`, without hosts and with one", *start],
        ],
    )


def library(result: dict[str, Any]) -> str:
    """Launches from a Python program, for each user, with and without busy threads."""
    users = result["results"][::-1]
    columns = [(one, count) for one in users for count in one["threads"]]
    who = ["root" if one["uid"] == 0 else "an ordinary user" for one in users]
    head = [f"{name}, {count} busy threads" for name, one in zip(who, users, strict=True) for count in one["threads"]]
    names = list(users[0]["threads"]["0"])
    rows = []
    for name in names:
        cells = [one["threads"][count][name] for one, count in columns]
        rows.append([name, *(f"{_number(1000 * cell['median'])} ms, {_spread(cell['ratio'])}" for cell in cells)])
    text = _table(["launch of `true`, from Python", *head], rows)
    text += "\nMilliseconds are medians; beside them how many times that of `subprocess.run`, with quartiles.\n\n"
    goals = [
        [f"{goal['arm']}, of {goal['of']}", f"{goal['goal']}", *(_kept(one["goals"][at]) for one in users)]
        for at, goal in enumerate(users[0]["goals"])
    ]
    text += _table(["medians with busy threads", "wanted at most", *who], goals)
    rounds = users[0]["threads"]["8"][names[0]]["rounds"]
    left = {count for one in users for cell in one["left"].values() for count in cell.values()}
    return f"{text}\n{rounds:,} launches each; descriptors and children left: {max(left) or 'none'}.\n"


def _kept(goal: dict[str, Any]) -> str:
    return f"{goal['ratio']:.2f}{'' if goal['ratio'] <= goal['goal'] else ' (missed)'}"


TABLES = {
    "startup": startup,
    "syscalls": syscalls,
    "inside": inside,
    "scale": scale,
    "cost": cost,
    "library": library,
    "overlay": overlay,
    "relay": relay,
}


def region(name: str) -> str:
    """What belongs into the region of this part."""
    path = RESULTS / f"{name}.json"
    if not path.exists():
        return f"Not measured yet: `make bench BENCH={name}`.\n"
    result = json.loads(path.read_text())
    plot = f"\n![plot](bench/results/{name}.svg)\n" if (RESULTS / f"{name}.svg").exists() else ""
    facts = machine(result["machine"]) + "\n" if "machine" in result else ""
    return f"{facts}{TABLES[name](result)}{plot}"


def rewritten(text: str) -> str:
    """The same text with every region as the numbers have it."""
    return REGION.sub(lambda match: match[1] + region(match[2]) + match[3], text)


def main() -> None:
    """Write README.md."""
    readme = TOP / "README.md"
    readme.write_text(rewritten(readme.read_text()))


if __name__ == "__main__":
    main()
