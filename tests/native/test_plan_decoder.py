"""The C decoder of plans: it reads what Python writes, and refuses what Python refuses.

A small program reads a plan with plan_decode and writes its bytes again; both it and the fuzz target are built with the
address and undefined behaviour sanitizers, so a read past the end is a failure too.
"""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandrun.native import child
from sandrun.plan.format import FIELDS, MAGIC, VERSION, Plan, PlanError
from sandrun.plancache.entry import entry
from sandrun.plancache.facts import Facts, Recorder
from sandrun.primitives.view import VIEW_BIND, VIEW_CONTENT, VIEW_FILE
from tests.integration.launching import Watch
from tests.support import CHECKOUT, need, need_program
from tests.unit.test_plan_format import PLANS

HERE = Path(__file__).parent
FUZZ_SECONDS = int(os.environ.get("SANDRUN_FUZZ_SECONDS", "2"))
BINARY = frozenset(
    [
        "egress",
        "broker_filter",
        "observe",
        "seccomp",
        "broker_rules",
        "broker_deny",
        "cgroup_limits",
        "relay_rules",
        "relay_deny",
        "relay_names",
    ]
)
"""Fields that may hold a NUL; the others are strings that the kernel gets, but for the content in a view."""
_EXAMPLES = settings(max_examples=60, deadline=None)


@pytest.fixture(scope="session")
def reencode(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program that reads a plan and writes it again."""
    program = tmp_path_factory.mktemp("native") / "reencode"
    native = CHECKOUT / "sandrun/native"
    sanitizers = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    words = (need_program("cc"), "-std=c17", *sanitizers, f"-I{native}", HERE / "reencode.c", native / "plan.c")
    built = subprocess.run([*words, "-o", program], capture_output=True, text=True, timeout=250)
    need(built.returncode == 0 or "sanit" not in built.stderr, "a C compiler with sanitizers")
    assert built.returncode == 0, built.stderr
    return program


def read(program: Path, data: bytes) -> bytes | None:
    """What the program makes of these bytes; None if they are no plan to it."""
    # A plan is read once in a process's life and never freed.
    environment = {"ASAN_OPTIONS": "detect_leaks=0"}
    run = subprocess.run([program], input=data, capture_output=True, timeout=60, env=environment)
    assert run.returncode in (0, 1), run.stderr.decode(errors="replace")
    return None if run.returncode else run.stdout


def holds_nul(plan: Plan) -> bool:
    """Whether a string of it that the kernel gets would be cut short there."""
    found = False
    for name, code, _ in FIELDS:
        value = getattr(plan, name)
        if name == "view":
            found |= any(b"\0" in path for _, _, path, _ in value)
            found |= any(b"\0" in source for kind, _, _, source in value if kind not in (VIEW_FILE, VIEW_CONTENT))
        elif name not in BINARY:
            found |= code == "b" and b"\0" in value
            found |= code == "B" and any(b"\0" in text for text in value)
            found |= code == "P" and any(b"\0" in path for _, _, path in value)
    return found


@_EXAMPLES
@given(plan=PLANS)
def test_reads_what_python_writes(reencode: Path, plan: Plan) -> None:
    """Each field arrives as it was; a plan with a NUL in a string for the kernel is refused."""
    data = plan.to_bytes()
    assert read(reencode, data) == (None if holds_nul(plan) else data)


@_EXAMPLES
@given(plan=PLANS, data=st.data())
def test_refuses_what_python_refuses(reencode: Path, plan: Plan, data: st.DataObject) -> None:
    """Bytes that were changed anywhere are a plan to both executors or to none, and then the same."""
    changed = bytearray(plan.to_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(changed) - 1))
        changed[at] = data.draw(st.integers(0, 255))
    try:
        other = Plan.from_bytes(bytes(changed))
    except PlanError:
        other = None
    expected = None if other is None or holds_nul(other) else bytes(changed)
    assert read(reencode, bytes(changed)) == expected


@pytest.mark.parametrize("cut", [0, 4, 8, 11, 12, 13, 17, 18, -1, -9])
def test_refuses_a_plan_cut_short(reencode: Path, cut: int) -> None:
    """Nothing is made up for what is missing."""
    assert read(reencode, Plan(argv=(b"true",)).to_bytes()[:cut]) is None


def test_refuses_another_version(reencode: Path) -> None:
    """A plan of another version means something else."""
    data = Plan().to_bytes()
    start = len(MAGIC) + 4
    assert read(reencode, data) == data
    assert read(reencode, MAGIC + struct.pack("<I", VERSION + 1) + data[start:]) is None
    assert read(reencode, data + b"\0") is None


@pytest.mark.parametrize("kind", [VIEW_BIND, VIEW_FILE])
def test_only_content_may_hold_a_nul(reencode: Path, kind: int) -> None:
    """A file's content is not a string; the source of a bind mount is."""
    data = Plan(view=((kind, 0, b"/a", b"b\0c"),)).to_bytes()
    assert read(reencode, data) == (data if kind == VIEW_FILE else None)


def an_entry(plan: Plan) -> bytes:
    """An entry of the plan cache, with facts of many kinds that hold."""
    facts = Facts()
    facts.latest = time.time_ns()  # or what is listed here would be too young to be believed
    host = Recorder(facts)
    facts.add_kernel()
    facts.add_variable("PATH")
    facts.add_file("/bin/true")
    facts.add_content("/proc/sys/kernel/cap_last_cap")
    for path in ("/", "/etc/passwd", "/no/such"):
        for ask in (host.lstat, host.stat):
            ask(path)
    host.listdir("/etc/skel")
    data = Plan(argv=(b"true",), env_set=(b"NAME",), path_rules=plan.path_rules).to_bytes()
    return entry("ab" * 32, facts.salt, facts.to_bytes(), data, [b"value"], 0)


def a_child(plan: Plan) -> bytes:
    """What the child of a supervisor in Python is given."""
    made: list[bytes] = []

    def keep(name: str, data: bytes) -> None:
        made.append(data)
        raise BlockingIOError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(child.fds, "sealed", keep)
        with pytest.raises(BlockingIOError):
            child.spawn(plan, Watch, (b"A=b",), (b"/p",), ((b"/upper", b"/work"),))  # type: ignore[arg-type]
    return made[0]


def test_fuzz(tmp_path: Path) -> None:
    """Mutated plans, launches, entries of the cache and documents of a child neither crash the decoders nor read past their end, for SANDRUN_FUZZ_SECONDS."""
    need_program("cc")
    target = tmp_path / "fuzz"
    words = [sys.executable, CHECKOUT / "tools/build_native.py", "--fuzz", target]
    built = subprocess.run(words, capture_output=True, text=True, timeout=250)
    need(built.returncode == 0 or "sanit" not in built.stderr, "a C compiler with sanitizers")
    assert built.returncode == 0, built.stderr
    plan = Plan(argv=(b"true", b"-x"), view=((1, 0, b"/a", b"/b"),), path_rules=((1, 1, b"/"),), rlimits=((1, 2, 3),))
    numbers = struct.pack("<4Q", 1, 0, 2**64 - 1, 2**64 - 1)
    records = (numbers, plan.to_bytes(), b"", b"", b"", b"")
    launch = b"".join(struct.pack("<HI", tag, len(record)) + record for tag, record in enumerate(records))
    (tmp_path / "plan").write_bytes(plan.to_bytes())
    (tmp_path / "launch").write_bytes(b"SRLAUNCH" + launch)
    (tmp_path / "entry").write_bytes(an_entry(plan))
    (tmp_path / "child").write_bytes(a_child(plan))
    run = subprocess.run(
        [target, str(FUZZ_SECONDS), *(tmp_path / name for name in ("plan", "launch", "entry", "child"))],
        capture_output=True,
        text=True,
        timeout=FUZZ_SECONDS + 200,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    read_as = re.search(r"(\d+) plans, (\d+) launches, (\d+) entries, (\d+) children", run.stdout)
    assert read_as, run.stdout
    assert min(map(int, read_as.groups())) > 0, "the seeds do not get past the first check"
