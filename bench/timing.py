"""Start commands, take their time, and say what the times mean.

A machine's speed drifts, so every comparison is of arms that took turns in mixed order, and a ratio is the median of the
ratios within each round, with quartiles. posix_spawn(3) does not copy this process, so its size is in no number.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sandrun import libc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

TOP = Path(__file__).resolve().parent.parent
RESULTS = TOP / "bench" / "results"
BUILD = TOP / "build" / "bench"
"""What `tools/setup.sh run bench` brings, and what the suite compiles."""
PYTHON = f"{sys.prefix}/bin/python"
SANDRUN = f"{sys.prefix}/bin/sandrun"
USER = 1234
"""The ordinary user of a session that is root."""
_NULL = [(os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_RDWR, 0) for fd in range(3)]


@dataclass(frozen=True, slots=True)
class Arm:
    """One command to be measured; `before` runs untimed before each launch.

    `to_the_end`: it has ended when all processes that it left behind have ended too.
    """

    words: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    before: Sequence[str] = ()
    to_the_end: bool = False


@dataclass(frozen=True, slots=True)
class Launch:
    """What one launch took, in seconds: by the clock, and of the processors (with those of waited-for children)."""

    wall: float
    cpu: float


def environment(home: str) -> dict[str, str]:
    """A small, fixed environment: what is in it is searched and passed on."""
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return {"PATH": path, "HOME": home, "LANG": "C.UTF-8", "SANDRUN_CACHE": f"{home}/plans"}


def kept(directory: str) -> dict[str, int]:
    """Which plans are kept there, and since when: where nothing changes between two launches, the second found its plan."""
    with contextlib.suppress(FileNotFoundError):
        return {entry.name: entry.stat().st_mtime_ns for entry in os.scandir(directory)}
    return {}


def spawn(words: Sequence[str], env: Mapping[str, str]) -> int:
    """Start words[0], a path, without input or output; its pid."""
    return os.posix_spawn(words[0], words, env, file_actions=_NULL)


def launch(arm: Arm, env: Mapping[str, str]) -> Launch:
    """Run one arm to its end.

    Raises:
        RuntimeError: it did not end with status 0.
    """
    whole = {**env, **arm.env}
    program = shutil.which(arm.words[0], path=env["PATH"])
    if program is None:
        raise RuntimeError(f"{arm.words[0]}: not found")
    if arm.before:
        subprocess.run(arm.before, check=True, env=whole)
    with _whose_orphans_are_ours() if arm.to_the_end else contextlib.nullcontext():
        began = time.perf_counter()
        _, status, usage = os.wait4(spawn([program, *arm.words[1:]], whole), 0)
        with contextlib.suppress(ChildProcessError):
            while arm.to_the_end:
                os.waitpid(-1, 0)
        wall = time.perf_counter() - began
    if status:
        raise RuntimeError(f"status {os.waitstatus_to_exitcode(status)}: {' '.join(arm.words)}")
    return Launch(wall, usage.ru_utime + usage.ru_stime)


@contextlib.contextmanager
def _whose_orphans_are_ours() -> Iterator[None]:
    """Processes whose parent ends become children of this one (PR_SET_CHILD_SUBREAPER, prctl(2))."""
    libc.set_subreaper(on=True)
    try:
        yield
    finally:
        libc.set_subreaper(on=False)


def told(arm: Arm, env: Mapping[str, str]) -> str:
    """What one run of an arm writes on standard output.

    Raises:
        RuntimeError: it did not end with status 0.
    """
    done = subprocess.run(arm.words, env={**env, **arm.env}, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"status {done.returncode}: {' '.join(arm.words)}: {done.stderr.strip()[:200]}")
    return done.stdout


def why_not(arm: Arm, env: Mapping[str, str]) -> str:
    """The first line of what an arm says that does not run, or "" if it runs."""
    try:
        done = subprocess.run(
            arm.words, env={**env, **arm.env}, check=False, capture_output=True, text=True, timeout=120
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return [*done.stderr.strip().splitlines(), f"status {done.returncode}"][0] if done.returncode else ""


def seconds(call: Callable[[], object]) -> float:
    """How long a call takes."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def take_turns(arms: Mapping[str, Callable[[], float]], rounds: int, what: str = "") -> dict[str, list[float]]:
    """Every arm once a round, in mixed order; the numbers of each arm by round."""
    taken: dict[str, list[float]] = {name: [] for name in arms}
    for number in range(rounds):
        print(f"\r{what}: round {number + 1} of {rounds} ", end="", file=sys.stderr, flush=True)
        for name in random.sample(list(arms), len(arms)):
            taken[name].append(arms[name]())
    print(file=sys.stderr)
    return taken


def quartiles(numbers: Sequence[float]) -> list[float]:
    """First quartile, median, third quartile."""
    return statistics.quantiles(numbers, n=4, method="inclusive") if len(numbers) > 1 else [numbers[0]] * 3


def compare(taken: Mapping[str, Sequence[float]], base: str) -> dict[str, dict[str, Any]]:
    """Of each arm: median and minimum, and the ratio to `base` within each round (first quartile, median, third)."""
    return {
        name: {
            "median": statistics.median(numbers),
            "min": min(numbers),
            "rounds": len(numbers),
            "ratio": quartiles([mine / theirs for mine, theirs in zip(numbers, taken[base], strict=True)]),
            "ratio_of_min": min(numbers) / min(taken[base]),
        }
        for name, numbers in taken.items()
    }


def rounded(value: Any) -> Any:
    """The same with every float to four digits that mean something: more would only be noise in a diff."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    return [rounded(inner) for inner in value] if isinstance(value, list | tuple) else value


@contextlib.contextmanager
def workplace(uid: int | None = None) -> Iterator[Path]:
    """A home with a project in it that belongs to `uid`, and is where commands run; removed afterwards.

    Not below /tmp: what hides that place would have more to do there, and some programs refuse a home there.
    """
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="sandrun-bench-") as base:
        os.chmod(base, 0o755)
        home = Path(base) / "home"
        project = home / "project"
        project.mkdir(parents=True)
        (home / "secret").write_text("not for a sandbox\n")
        os.chmod(home, 0o700)
        for path in (home, project, home / "secret"):
            os.chown(path, -1 if uid is None else uid, -1 if uid is None else uid)
        before = os.getcwd()
        os.chdir(project)
        try:
            yield home
        finally:
            os.chdir(before)


def as_user(uid: int, function: Callable[[], Any]) -> Any:
    """What function() returns in a process of this user, passed as JSON.

    Raises:
        RuntimeError: the process failed; its message is on standard error.
    """
    source, sink = os.pipe()
    pid = os.fork()
    if not pid:
        status = 1
        try:
            os.close(source)
            if os.geteuid() != uid:
                os.setgroups([])
                os.setresgid(uid, uid, uid)
                os.setresuid(uid, uid, uid)
            with open(sink, "w") as file:
                json.dump(function(), file)
            status = 0
        except (RuntimeError, OSError, subprocess.SubprocessError, KeyError, ValueError) as error:
            print(f"bench: {error}", file=sys.stderr)
        finally:
            os._exit(status)
    os.close(sink)
    with open(source) as file:
        text = file.read()
    _, status = os.waitpid(pid, 0)
    if status:
        raise RuntimeError(f"the part for uid {uid} failed")
    return json.loads(text)


def users() -> list[int]:
    """Who the suite measures as: the caller, and an ordinary user where the caller is root."""
    return [os.geteuid(), USER] if os.geteuid() == 0 else [os.geteuid()]


def ordinary() -> int:
    """The ordinary user among `users`."""
    return users()[-1]


def compiled(name: str, *flags: str) -> str:
    """The program made of bench/NAME.c, compiled if the source is newer."""
    source, program = TOP / "bench" / f"{name}.c", BUILD / name
    BUILD.mkdir(parents=True, exist_ok=True)
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        subprocess.run(["cc", "-O2", "-Wall", "-Wextra", "-o", str(program), str(source), *flags], check=True)
    return str(program)
