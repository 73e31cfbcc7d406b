"""Part `scale`: many sandboxes at once, and many in a row.

Memory of processes that may not be looked at (supervisors are not dumpable) takes a caller who is root; without, that
column is empty. The sandboxes themselves are started as the ordinary user.
"""

from __future__ import annotations

import os
import re
import select
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import peers, plot
from bench.timing import SANDRUN, Arm, environment, kept, launch, ordinary, workplace

if TYPE_CHECKING:
    from collections.abc import Sequence

COUNTS, QUICK_COUNTS = (1, 10, 100, 500), (1, 10)
IN_A_ROW, QUICK_IN_A_ROW = 10_000, 50
MOST_SECONDS = 180
"""After which the launches in a row stop; how many there were is in the result."""
IDLE = 3.0
"""Seconds that waiting supervisors are watched."""
SETTLING = 1.0
"""After the commands have spoken, until they are `sleep`."""
PATIENCE = 120.0
TICK = 1 / os.sysconf("SC_CLK_TCK")
COMMAND = ("sh", "-c", "echo; exec sleep 1000")
MACHINE_WIDE = ("open files of the machine", "processes", "entries in /tmp, /run, /dev/shm")
PSS_GOAL_KB, IDLE_GOAL = 500, 0.0


def _arms(home: str) -> dict[str, Arm]:
    python = {"SANDRUN_EXECUTOR": "python"}
    return {
        "sandrun default": Arm((SANDRUN, "-q", "-p", "default", "--", *COMMAND)),
        "sandrun --exec, strict": Arm((SANDRUN, "-q", "-p", "strict", "-x", "/usr/bin", "--exec", "--", *COMMAND)),
        "sandrun default, Python executor": Arm((SANDRUN, "-q", "-p", "default", "--", *COMMAND), python),
        "bwrap, all namespaces": Arm((*peers.BWRAP, "--", *COMMAND), {"HOME": home}),
    }


MOST = {"sandrun default, Python executor": 100}
"""Arms of which no more are started at once: an interpreter each would only wear the machine out."""


def _start(arm: Arm, count: int, env: dict[str, str], uid: int) -> tuple[list[int], float]:
    """Pids of `count` sandboxes, and the seconds until the command of each one has spoken."""
    source, sink = os.pipe()
    actions = [(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0), (os.POSIX_SPAWN_DUP2, sink, 1)]
    words = list(arm.words)
    if os.geteuid() != uid:
        words = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", *words]
    began = time.perf_counter()
    pids = [os.posix_spawnp(words[0], words, {**env, **arm.env}, file_actions=actions) for _ in range(count)]
    os.close(sink)
    spoken, end = 0, time.monotonic() + PATIENCE
    while spoken < count and time.monotonic() < end:
        if not select.select([source], [], [], 1.0)[0]:
            continue
        heard = os.read(source, 4096)
        if not heard:
            break
        spoken += len(heard)
    took = time.perf_counter() - began
    os.close(source)
    if spoken < count:
        _end(pids)
        raise RuntimeError(f"only {spoken} of {count} sandboxes were up: {' '.join(arm.words[:6])}")
    return pids, took


def _end(pids: Sequence[int]) -> float:
    """Seconds until all of them are gone after SIGTERM."""
    began = time.perf_counter()
    for pid in pids:
        os.kill(pid, signal.SIGTERM)
    for pid in pids:
        os.waitpid(pid, 0)
    return time.perf_counter() - began


def _children(pid: int) -> list[int]:
    with suppress(FileNotFoundError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def _own(pid: int) -> list[int]:
    """The processes that belong to the sandbox itself: all between the one started and the command, `sleep`."""
    name = Path(f"/proc/{pid}/comm").read_text().strip()
    return [] if name == "sleep" else [pid, *(inner for child in _children(pid) for inner in _own(child))]


def _pss(pid: int) -> int | None:
    """Proportional share of memory in kB; None where this process may not be looked at."""
    try:
        found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    except PermissionError:
        return None
    return int(found[1]) if found else None


def _used(pids: Sequence[int]) -> tuple[float, int]:
    """Seconds of processor time so far, and how often these processes were woken."""
    seconds, woken = 0.0, 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        seconds += (int(fields[11]) + int(fields[12])) * TICK
        status = Path(f"/proc/{pid}/status").read_text()
        woken += sum(int(number) for number in re.findall(r"voluntary_ctxt_switches:\s+(\d+)", status))
    return seconds, woken


def _many(arm: Arm, count: int, env: dict[str, str], uid: int) -> dict[str, Any]:
    """`count` sandboxes at once: how fast they come, what each one holds, what they do while they wait, how fast they go."""
    pids, took = _start(arm, count, env, uid)
    time.sleep(SETTLING)
    own = [inner for pid in pids for inner in _own(pid)]
    shares = [share for pid in own if (share := _pss(pid)) is not None]
    before = _used(own)
    time.sleep(IDLE)
    after = _used(own)
    gone = _end(pids)
    return {
        "launches_per_second": count / took,
        "processes_each": len(own) / count,
        "pss_kb_each": sum(shares) / count if len(shares) == len(own) else None,
        "idle_cpu_seconds": after[0] - before[0],
        "idle_wakeups": after[1] - before[1],
        "idle_watched_seconds": IDLE,
        "seconds_to_end_all": gone,
    }


def _state(env: dict[str, str]) -> dict[str, int]:
    """Everything that must not grow with the number of launches."""
    plans = kept(env["SANDRUN_CACHE"])
    return {
        "descriptors": len(os.listdir("/proc/self/fd")),
        "open files of the machine": int(Path("/proc/sys/fs/file-nr").read_text().split()[0]),
        "processes": sum(name.isdigit() for name in os.listdir("/proc")),
        "zombies here": sum(1 for pid in _children(os.getpid()) if "Z" in Path(f"/proc/{pid}/stat").read_text()),
        "control groups": sum(1 for _ in os.walk("/sys/fs/cgroup")),
        "mounts": len(Path("/proc/self/mountinfo").read_text().splitlines()),
        "plans kept": len(plans),
        "entries in /tmp, /run, /dev/shm": sum(len(os.listdir(path)) for path in ("/tmp", "/run", "/dev/shm")),
    }


def _in_a_row(most: int, env: dict[str, str], uid: int) -> dict[str, Any]:
    """Launch `true` again and again; what there is more of at the end, and whether the last launches were slower."""
    words: tuple[str, ...] = (SANDRUN, "-q", "-p", "default", "--", "true")
    if os.geteuid() != uid:
        words = ("setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", *words)
    arm = Arm(words)
    for _ in range(3):
        launch(arm, env)
    before, taken, end = _state(env), [], time.monotonic() + MOST_SECONDS
    while len(taken) < most and time.monotonic() < end:
        taken.append(launch(arm, env).wall)
        if not len(taken) % 500:
            print(f"\rin a row: {len(taken)}", end="", file=sys.stderr, flush=True)
    time.sleep(0.5)  # the kernel takes namespaces apart after the last process is gone
    after, tenth = _state(env), max(1, len(taken) // 10)
    return {
        "launches": len(taken),
        "ms_first_tenth": 1000 * sum(taken[:tenth]) / tenth,
        "ms_last_tenth": 1000 * sum(taken[-tenth:]) / tenth,
        "before": before,
        "after": after,
        "grown": {
            name: after[name] - before[name] for name in after if after[name] - before[name] > slack(name, len(taken))
        },
    }


def slack(name: str, launches: int) -> int:
    """How much more there may be of what others on the machine make too; what leaks does so at every launch."""
    return launches // 100 if name in MACHINE_WIDE else 0


def run(quick: bool) -> dict[str, Any]:
    """Measure: at once first, in a row then."""
    uid = ordinary()
    with workplace(uid) as home:
        env = environment(str(home))
        time.sleep(2.1)
        many: dict[str, Any] = {}
        for name, arm in _arms(str(home)).items():
            _end(_start(arm, 1, env, uid)[0])  # a plan is kept now
            for count in QUICK_COUNTS if quick else COUNTS:
                if count > MOST.get(name, count):
                    continue
                print(f"\r{name}: {count} at once   ", end="", file=sys.stderr, flush=True)
                many.setdefault(name, {})[str(count)] = _many(arm, count, env, uid)
        print(file=sys.stderr)
        row = _in_a_row(QUICK_IN_A_ROW if quick else IN_A_ROW, env, uid)
    return {"uid": uid, "at_once": many, "in_a_row": row}


def show(result: dict[str, Any]) -> None:
    """Two tables."""
    print(
        f"{'sandboxes at once':36} {'launches/s':>10} {'processes':>10} {'PSS each kB':>12} {'idle CPU s':>11} {'woken':>6}"
    )
    for name, counts in result["at_once"].items():
        for count, cell in counts.items():
            memory = "?" if cell["pss_kb_each"] is None else f"{cell['pss_kb_each']:.0f}"
            print(
                f"  {name:28} {count:>5} {cell['launches_per_second']:10.1f} {cell['processes_each']:10.1f} {memory:>12}"
                f" {cell['idle_cpu_seconds']:11.2f} {cell['idle_wakeups']:6}"
            )
    row = result["in_a_row"]
    print(
        f"{row['launches']} in a row: {row['ms_first_tenth']:.1f} ms each at first, {row['ms_last_tenth']:.1f} at the end;"
    )
    print(f"  more of: {row['grown'] or 'nothing'}")
    print(f"goals: PSS at most {PSS_GOAL_KB} kB each, no processor time while waiting, nothing grown")


def plots(result: dict[str, Any]) -> dict[str, str]:
    """Memory over the number of sandboxes."""
    series = {
        name: {float(count): cell["pss_kb_each"] for count, cell in counts.items() if cell["pss_kb_each"]}
        for name, counts in result["at_once"].items()
    }
    series = {name: points for name, points in series.items() if points}
    if not series:
        return {}
    subtitle = "PSS of supervisor and init, kB for each sandbox, over sandboxes at once."
    return {"scale": plot.lines("Memory of waiting sandboxes", subtitle, series)}
