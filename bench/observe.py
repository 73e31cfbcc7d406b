"""Part `observe`: what it costs to be observed and learnt from, beside strace(1), in one run.

Each command runs as it is, in a launch, and in each way of being observed, in turn, so that the drift of the machine hits
them all. Times are of the command alone, from execve to its end, except for strace, of which they are of the whole.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SANDRUN = str(Path(sys.prefix) / "bin" / "sandrun")
ROUNDS = 3
SOURCES = 20
"""C files that are compiled and linked; each gcc is five processes."""
GRANTS = (*("-q", "-p", "none", "-x", "@all", "-w", ".", "-w", "/dev/null", "-r", "/dev/zero"), "--isolate", "false")
ARMS = {
    "as it is": [],
    "sandrun": [SANDRUN, *GRANTS],
    "sandrun --explain": [SANDRUN, *GRANTS, "--explain"],
    "sandrun trace": [SANDRUN, "trace"],
    "sandrun learn": [SANDRUN, "learn", "--cage", "open", "--no-verify", "--json", "-o", "app.toml"],
    "strace -f": ["strace", "-f", "-o", "trace.out"],
    "strace -f --seccomp-bpf": ["strace", "-f", "--seccomp-bpf", "-e", "trace=%file,%net", "-o", "trace.out"],
}


def commands(folder: Path) -> dict[str, list[str]]:
    """What is measured: a build, a clone, and a program that does nothing but call."""
    for number in range(SOURCES):
        body = f'#include <stdio.h>\nint f{number}(void) {{ return printf("%d", {number}); }}\n'
        (folder / f"part{number}.c").write_text(body)
    (folder / "main.c").write_text("int main(void) { return 0; }\n")
    parts = " ".join(f"part{number}.o" for number in range(SOURCES))
    (folder / "Makefile").write_text(f"all: main.o {parts}\n\tcc -o prog main.o {parts}\nclean:\n\trm -f *.o prog\n")
    subprocess.run(["git", "init", "-q", "origin"], cwd=folder, check=True)
    for number in range(200):
        (folder / "origin" / f"file{number}").write_text(f"{number}\n" * 50)
    subprocess.run(["git", "add", "."], cwd=folder / "origin", check=True)
    words = ["-c", "user.name=x", "-c", "user.email=x@example.org", "commit", "-q", "-m", "all"]
    subprocess.run(["git", *words], cwd=folder / "origin", check=True)
    return {
        "C build": ["sh", "-c", "make -s clean all"],
        "git clone": ["sh", "-c", "rm -rf copy && git clone -q --no-hardlinks origin copy"],
        "10,000 calls": ["dd", "if=/dev/zero", "of=/dev/null", "bs=1", "count=5000", "status=none"],
    }


def measure(words: list[str], command: list[str], folder: Path) -> float:
    """Seconds that the command took."""
    if "learn" in words:
        (folder / "app.toml").unlink(missing_ok=True)
        argv = [*words, "--", *command]
        done = subprocess.run(argv, cwd=folder, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        return float(json.loads(done.stdout)["seconds"])
    if words[:1] == [SANDRUN]:
        report = folder / "report.json"
        full = [*words, "--report", str(report), "--", *command]
        subprocess.run(full, cwd=folder, check=True, stderr=subprocess.DEVNULL)
        return float(json.loads(report.read_text())["outcome"]["wall"])
    began = time.perf_counter()
    subprocess.run([*words, *command], cwd=folder, check=True, stderr=subprocess.DEVNULL)
    return time.perf_counter() - began


def run(quick: bool) -> dict[str, Any]:
    """Medians by command and arm, in milliseconds."""
    rounds = 1 if quick else ROUNDS
    arms = {name: words for name, words in ARMS.items() if not words or shutil.which(words[0])}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        taken: dict[str, dict[str, list[float]]] = {}
        made = commands(folder)
        for _ in range(rounds):
            for title, command in made.items():
                for arm, words in arms.items():
                    seconds = measure(words, command, folder)
                    taken.setdefault(title, {}).setdefault(arm, []).append(seconds * 1000)
    medians = {
        title: {arm: round(statistics.median(times), 1) for arm, times in by_arm.items()}
        for title, by_arm in taken.items()
    }
    return {"rounds": rounds, "milliseconds": medians}


def show(result: dict[str, Any]) -> None:
    """A table: milliseconds, and how many times as long as the command as it is."""
    print(f"median of {result['rounds']} rounds, milliseconds (times as long as it is)")
    for title, by_arm in result["milliseconds"].items():
        print(f"\n{title}")
        for arm, median in by_arm.items():
            print(f"  {arm:24} {median:9.1f}  {median / by_arm['as it is']:6.2f}")
