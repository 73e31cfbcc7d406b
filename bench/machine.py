"""The facts of the machine, the kernel and the programs that numbers belong to."""

from __future__ import annotations

import datetime
import os
import platform
import re
import subprocess
from pathlib import Path

from bench.timing import PYTHON, SANDRUN, TOP

_VERSIONS = {
    "python": [PYTHON, "--version"],
    "sandrun": [SANDRUN, "--version"],
    "bwrap": ["bwrap", "--version"],
    "firejail": ["firejail", "--version"],
    "cc": ["cc", "--version"],
    "ripgrep": ["rg", "--version"],
    "nginx": ["/usr/sbin/nginx", "-v"],
    "wrk": ["wrk", "-v"],
    "strace": ["strace", "--version"],
}


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _first_line(words: list[str]) -> str:
    """What a program says first about itself, or "" if it is not there. Some say it with status 1."""
    try:
        done = subprocess.run(words, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    except OSError:
        return ""
    return [*(done.stdout.strip() or done.stderr.strip()).splitlines(), ""][0][:80]


def facts() -> dict[str, object]:
    """Everything that a reader needs to judge a number."""
    info = _read("/proc/cpuinfo")
    memory = re.search(r"MemTotal:\s+(\d+)", _read("/proc/meminfo"))
    model = re.search(r"model name\s*: (.*)", info)
    weak = {path.name: path.read_text().strip() for path in Path("/sys/devices/system/cpu/vulnerabilities").glob("*")}
    return {
        "date": datetime.datetime.now(tz=datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": _first_line(["git", "-C", str(TOP), "rev-parse", "--short", "HEAD"]),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "processor": model[1] if model else "",
        "processors": len(os.sched_getaffinity(0)),
        "memory_gib": round(int(memory[1]) / 2**20, 1) if memory else 0,
        "virtual": "hypervisor" in info,
        "load": list(os.getloadavg()),
        "lsm": _read("/sys/kernel/security/lsm"),
        "bpf_jit": _read("/proc/sys/net/core/bpf_jit_enable"),
        "mitigations": {name: text for name, text in sorted(weak.items()) if text != "Not affected"},
        "versions": {name: version for name, words in _VERSIONS.items() if (version := _first_line(words))},
    }
