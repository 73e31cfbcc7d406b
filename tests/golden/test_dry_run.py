"""`sandrun --dry-run --json` of every built-in profile over kernels and users, held to files that are reviewed.

A file holds the document for Landlock ABI 7 whole, and for each other kernel the difference from it, so that a change
of policy shows as what it is. `make golden` (SANDRUN_GOLDEN=write) rewrites them. The machine is the one of
`tests.fakes`. The syscall programs, whose bytes depend on the version of libseccomp, are shown as the answers that they
are compiled from.
"""

from __future__ import annotations

import difflib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sandrun import dryrun
from sandrun.errors import SandrunError
from sandrun.kernel import NAMESPACES, Kernel
from sandrun.plan.resolve import resolve
from sandrun.policy import syscalls
from sandrun.profile import load
from tests.fakes import debian_host
from tests.support import CHECKOUT

if TYPE_CHECKING:
    from sandrun.primitives.seccomp_match import Refusal

ABIS = (0, 1, 2, 3, 4, 5, 6, 7, 10)
BASE = 7
WITH_NAMESPACES = (2, 7)
"""The ABIs that are also shown with every kind of namespace."""
USERS = {"root": 0, "user": 1000}
ALL_CAPS = (1 << 41) - 1
NAMES = sorted(path.stem for path in (CHECKOUT / "profiles").glob("*.toml"))
COMMAND = ("/usr/bin/true", "x")
HERE = Path(__file__).parent


def kernel(abi: int, uid: int, *, namespaces: bool) -> Kernel:
    """Linux with this Landlock ABI, as this user sees it, where every namespace can be made or none."""
    found = dict.fromkeys(NAMESPACES, namespaces)
    return Kernel(
        **found,
        namespace_reason="" if namespaces else "not here",
        release="6.0.0",
        landlock_abi=abi,
        landlock_state="available" if abi else "missing",
        seccomp_actions=frozenset({"kill_process", "errno", "log", "allow"}),
        capabilities=0 if uid else ALL_CAPS,
        uid=uid,
    )


def shown(monkeypatch: pytest.MonkeyPatch, name: str, abi: int, uid: int, *, namespaces: bool = False) -> str:
    """What the dry run prints: the document, or the lines of the refusal."""
    answers: dict[str, object] = {}

    def describe_filter(arch: str, numbers: dict[int, int], refusals: list[Refusal]) -> tuple[bytes, ...]:
        by_action: dict[str, list[str]] = {}
        for number, action in numbers.items():
            by_action.setdefault(f"{action:#x}", []).append(syscalls.name_of(number, arch))
        answers.update({action: " ".join(sorted(names)) for action, names in sorted(by_action.items())})
        answers["by argument"] = sorted(f"{syscalls.name_of(one.number, arch)}: {one.action:#x}" for one in refusals)
        return (b"",)

    monkeypatch.setattr("sandrun.plan.syscalls.compile_filter", describe_filter)
    try:
        profile = load((name,), ())
        resolution = resolve(profile, kernel(abi, uid, namespaces=namespaces), debian_host(uid=uid), COMMAND)
    except SandrunError as error:
        return json.dumps({"status": error.status, "lines": error.lines()}, indent=1)
    document = dryrun.describe(profile, resolution)
    document["syscalls"] = answers
    return json.dumps(document, indent=1)


def golden(monkeypatch: pytest.MonkeyPatch, name: str, uid: int) -> str:
    """The text of one golden file."""
    base = shown(monkeypatch, name, BASE, uid)
    parts = [f"### Landlock ABI {BASE}", base]
    others = [(f"Landlock ABI {abi}", abi, False) for abi in ABIS if abi != BASE]
    others += [(f"Landlock ABI {abi} and namespaces", abi, True) for abi in WITH_NAMESPACES]
    for title, abi, namespaces in others:
        text = shown(monkeypatch, name, abi, uid, namespaces=namespaces)
        change = difflib.unified_diff(base.splitlines(), text.splitlines(), n=1, lineterm="")
        parts += [f"### {title}", *list(change)[2:]]
    return "\n".join(parts) + "\n"


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("name", NAMES)
def test_dry_run(monkeypatch: pytest.MonkeyPatch, name: str, user: str) -> None:
    """The plan and the record of a built-in profile are what was reviewed, on every kernel."""
    file = HERE / f"{name}.{user}.txt"
    text = golden(monkeypatch, name, USERS[user])
    if os.environ.get("SANDRUN_GOLDEN") == "write":
        file.write_text(text)
    assert text.splitlines() == file.read_text().splitlines()


def test_no_golden_file_is_left_over() -> None:
    """Each golden file belongs to a profile that is still there."""
    assert {file.name for file in HERE.glob("*.txt")} == {f"{name}.{user}.txt" for name in NAMES for user in USERS}


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("abi", ABIS)
def test_default_never_loses_silently(monkeypatch: pytest.MonkeyPatch, abi: int, user: str) -> None:
    """What `default` does not enforce on a kernel is named in the record, or the launch is refused."""
    text = shown(monkeypatch, "default", abi, USERS[user])
    document = json.loads(text)
    if "status" in document:
        assert document["lines"]
        return
    lost = {entry["key"]: entry["lost"] for entry in document["protections"] if entry["state"] != "enforced"}
    assert set(lost) <= {"process.isolate", "filesystem.proc"}
    assert all(lost.values())
