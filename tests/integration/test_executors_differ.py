"""Both executors do the same with the same plan: generated options, seen from inside and by the outcome.

SANDRUN_DIFFER is the number of examples for each user, where more of them are wanted than a run of all tests has time for;
only then a failure is made smaller.
"""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
from hypothesis import strategies as st

from tests import support
from tests.integration.supervised import python
from tests.integration.test_executors import EXECUTORS, chosen, need_native
from tests.probes import state
from tests.support import CHECKOUT, sandrun

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support import Who

ASKED = os.environ.get("SANDRUN_DIFFER", "")
EXAMPLES = int(ASKED or 12)
SECONDS = 3600 if ASKED else 12
"""For each user. Machines differ: what is not done by then is not done."""
PROBE = (CHECKOUT / "tests/probes/state.py").read_text()
ALL = ("-p", "none", "-x", "@all", "-w", "@all")
SYSTEM = ("-p", "none", "-x", "@system", "-w", ".")
PROFILES = (ALL, SYSTEM, (), ("-p", "strict", "-x", "@system"), ("-p", "offline"), ("-p", "build"))
FREE: tuple[tuple[tuple[str, ...], ...], ...] = (
    # one of each line, or none
    (("--isolate", "true"), ("--isolate", "signals"), ("--isolate", "false")),
    (("--tty", "inherit"), ("--tty", "new-session"), ("--tty", "protected")),
    (("--proc", "own"), ("--proc", "host"), ("--proc", "none")),
    (("--dev", "minimal"), ("--dev", "host")),
    (("--tmp", "private"), ("--tmp", "host")),
    (("--home", "hidden"), ("--home", "private"), ("--home", "host")),
    (("--namespace", "uts"), ("--namespace", "ipc"), ("--namespace", "time"), ("--namespace", "cgroup")),
    (("--hostname", "inside"),),
    (("--loopback",), ("--connect", "tcp:*:443"), ("--bind", "tcp:*:24567"), ("--family", "netlink")),
    (("--deny", "/etc/hostname"), ("--deny", "secret"), ("--deny-write", "secret"), ("--rule", "/srv=read_dir")),
    (("--create", "made/"), ("--read", "/etc"), ("--execute", "/usr/bin")),
    (("--umask", "027"), ("--umask", "0")),
    (("--nice", "3"), ("--nice", "19")),
    (("--cwd", "below"), ("--cwd", "/")),
    (("--rlimit", "nofile=99"), ("--rlimit", "core=0", "--rlimit", "stack=4M:8M"), ("--rlimit", "cpu=50")),
    (("--env", "NAME=value with=it"), ("--env", "@all"), ("--env", "SEEN", "--unset-env", "LANG")),
    (("--pass-fd", "9"), ("--pass-fd", "9", "--pass-fd", "5")),
    (("--syscall-default", "allow"), ("--syscall-default", "errno", "--allow-syscall", "@default")),
    (("--deny-syscall", "ptrace"), ("--deny-syscall", "personality"), ("--syscall-rule", "socket:0:eq:2:errno")),
    (("--no-no-new-privs",), ("--securebits", "noroot"), ("--capability", "chown"), ("--ambient", "net_raw")),
    (("--timeout", "9s", "--grace", "1s"),),
    (("--exec", "--isolate", "signals"), ("--status-fd", "8"), ("--report", "{report}")),
    (("--quiet",), ("--verbose",)),
)
ROOTS: tuple[tuple[tuple[str, ...], ...], ...] = (
    (("--user", "1234"), ("--user", "nobody"), ("--group", "1234"), ("--groups", "5", "--groups", "6")),
)
ENDS = (0, 3, 125, 255, -signal.SIGTERM, -signal.SIGKILL, -signal.SIGINT, -signal.SIGABRT)
OTHERS: tuple[tuple[str, ...], ...] = (
    # commands that end, or begin, otherwise
    ("sh", "-c", "sleep 60 & exit 3"),
    ("sh", "-c", "trap '' TERM; setsid sleep 61 >/dev/null 2>&1 & kill -9 $$"),
    ("/no/such",),
    ("/etc/passwd",),
    ("/",),
    ("true", "", "a\nb", "\udcff"),
)
EVENT = '{"sandrun": 1, "event": '
VARYING = ("wall", "user", "system", "max_rss", "time", "started_at", "ended_at", "pid", "duration")


@dataclass(frozen=True)
class Case:
    """One launch: its words, and what its caller is like."""

    options: tuple[str, ...]
    end: int
    other: tuple[str, ...]
    ignored: frozenset[int]
    blocked: frozenset[int]
    limits: tuple[tuple[int, int], ...]
    umask: int
    nice: int
    closed: frozenset[int]
    stdin: str


@st.composite
def cases(draw: st.DrawFn, *, is_root: bool) -> Case:
    """A few options from different lines, and a caller that is a little unusual."""
    lines = (*FREE, *ROOTS) if is_root else FREE
    taken = draw(st.lists(st.sampled_from(range(len(lines))), max_size=5, unique=True))
    words = [draw(st.sampled_from(lines[at])) for at in sorted(taken)]
    signals = st.sampled_from([signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE, signal.SIGCHLD, signal.SIGUSR1, 40])
    return Case(
        options=(*draw(st.sampled_from(PROFILES)), *(word for each in words for word in each)),
        end=draw(st.sampled_from(ENDS)),
        other=draw(st.sampled_from(((),) * 8 + OTHERS)),
        ignored=draw(st.frozensets(signals, max_size=2)),
        blocked=draw(st.frozensets(signals, max_size=2)),
        limits=draw(
            st.lists(st.sampled_from([(resource.RLIMIT_CORE, 0), (resource.RLIMIT_NOFILE, 200)]), max_size=2).map(tuple)
        ),
        umask=draw(st.sampled_from([0o22, 0o77, 0])),
        nice=draw(st.sampled_from([0, 0, 1])),
        closed=draw(st.sampled_from([frozenset(), frozenset(), frozenset([0]), frozenset([2]), frozenset([0, 2])])),
        stdin=draw(st.sampled_from(["null", "pipe", "file"])),
    )


def caller(case: Case) -> Callable[[], None]:
    """What makes a child such a caller, before it executes sandrun."""

    def become() -> None:
        for number in (5, 8, 9):
            os.dup2(1 if number == 8 else os.open("/", os.O_RDONLY), number, inheritable=True)
        for number in case.ignored:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, case.blocked)
        for limit, value in case.limits:
            resource.setrlimit(limit, (value, value))
        os.umask(case.umask)
        os.nice(case.nice)
        for number in case.closed:
            os.close(number)

    return become


def ran(case: Case, executor: str, who: Who, box: Path) -> dict[str, Any]:
    """What one executor makes of it."""
    before = support.descendants()
    below = box / "below"
    below.mkdir(mode=0o700)
    (box / "secret").write_text("secret\n")
    who.own(below, box / "secret")
    report = who.home / "report.json"
    namespaces = {name: os.readlink(f"/proc/self/ns/{name}") for name in state.NAMESPACES}
    command = case.other or (*python(who, PROBE), json.dumps(namespaces), str(case.end))
    options = [word.format(report=report) for word in case.options]
    if "--status-fd" not in options and "--exec" not in options:
        options += ["--status-fd", "8"] if "--report" in options else []
    stdin: Any = {"null": subprocess.DEVNULL, "pipe": subprocess.PIPE}.get(case.stdin) or (box / "secret").open("rb")
    done = sandrun(
        *options,
        "--",
        *command,
        who=who,
        cwd=box,
        env={**chosen(who, executor), "SEEN": "seen", "EMPTY": ""},
        stdin=stdin,
        close_fds=False,
        preexec_fn=caller(case),
        errors="surrogateescape",
    )
    if case.stdin == "file":
        stdin.close()
    # What nobody ends with --exec is there for good.
    running = support.left_since(before, 1 if "--exec" in case.options else 20)
    support.kill_all(running)
    try:
        outcome = {"status": done.returncode, "running": sorted(running.values()), "files": left(box)}
        return {**outcome, **told(done, report)}
    finally:
        report.unlink(missing_ok=True)
        support.remove_tree(box / "below")
        for name in ("made", "secret"):
            if (box / name).is_dir():
                (box / name).rmdir()
            (box / name).unlink(missing_ok=True)


def told(done: subprocess.CompletedProcess[str], report: Path) -> dict[str, Any]:
    """What was said, written and reported, without what differs from run to run."""
    parts = [part for line in done.stdout.splitlines() for part in split(line)]
    document = json.loads(report.read_text()) if report.exists() else None
    return {
        "seen": [plain(part) for part in parts if not part.startswith(EVENT)],
        "events": [plain(part) for part in parts if part.startswith(EVENT)],
        "stderr": anonymous(done.stderr).splitlines(),
        "report": strip(document),
    }


def split(line: str) -> list[str]:
    """What the command says, and an event: which comes first is a matter of who gets a processor first, and a command
    that ends in the middle of a line leaves an event behind its own words."""
    own, mark, event = line.rpartition(EVENT)
    return [part for part in (own, mark + event) if part] if mark else [line]


def plain(line: str) -> Any:
    """As JSON, if it is."""
    text = anonymous(line)
    try:
        return strip(json.loads(text))
    except ValueError:
        return repr(text)


def anonymous(text: str) -> str:
    """Without random names: those of private directories."""
    return re.sub(r"(/sandrun-?|srtest-)[A-Za-z0-9_.-]{6,}", r"\1*", text)


def strip(value: Any) -> Any:
    """Without times and ids."""
    if isinstance(value, dict):
        return {name: strip(item) for name, item in value.items() if name not in VARYING}
    return [strip(item) for item in value] if isinstance(value, list) else value


def left(box: Path) -> list[str]:
    """What the launch has made here, with its mode and owner."""
    found = []
    for path in sorted(box.rglob("*")):
        info = path.lstat()
        found.append(f"{path.relative_to(box)} {info.st_mode:o} {info.st_uid} {info.st_gid}")
    return found


@pytest.fixture(params=support.WHOS)
def place(request: pytest.FixtureRequest) -> Iterator[tuple[Who, Path]]:
    """A user, and one directory for all launches."""
    with support.a_who(request.param) as who, support.a_directory() as box:
        who.own(box)
        yield who, box


@pytest.mark.timeout(SECONDS + 120)
def test_both_do_the_same(place: tuple[Who, Path]) -> None:
    """State inside, output, status, report, events and what is left, for whatever the options and the caller are."""
    need_native()
    who, box = place
    end = time.monotonic() + SECONDS
    phases = [hypothesis.Phase.explicit, hypothesis.Phase.generate, *([hypothesis.Phase.shrink] if ASKED else [])]

    @hypothesis.settings(max_examples=EXAMPLES, phases=phases)
    @hypothesis.given(case=cases(is_root=who.is_root))
    def same(case: Case) -> None:
        if time.monotonic() < end:
            one, other = (ran(case, executor, who, box) for executor in EXECUTORS)
            assert one == other, difference(one, other)
            assert not one["running"] or "--exec" in case.options

    same()


@pytest.mark.parametrize("profile", [ALL, SYSTEM, ()], ids=["all", "system", "default"])
def test_the_state_is_seen(place: tuple[Who, Path], profile: tuple[str, ...]) -> None:
    """The comparison is not one of two failures: the probe ends as it is told, and sees what both executors must do."""
    need_native()
    who, box = place
    case = Case(profile, 3, (), frozenset([signal.SIGPIPE]), frozenset(), (), 0o27, 1, frozenset(), "null")
    one, other = (ran(case, executor, who, box) for executor in EXECUTORS)
    assert one == other, difference(one, other)
    assert one["status"] == 3, one["stderr"]
    (seen,) = one["seen"]
    assert seen["prctl"]["no_new_privs"] == 1
    assert seen["umask"] == 0o27
    assert signal.SIGPIPE in seen["signals"][1]


def difference(one: Any, other: Any, at: str = "") -> str:
    """Where the two differ, one line each: Python's and then the native one's."""
    if isinstance(one, dict) and isinstance(other, dict):
        names = [*one, *(name for name in other if name not in one)]
        parts = (difference(one.get(name), other.get(name), f"{at}/{name}") for name in names)
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        parts = (difference(*pair, f"{at}/{number}") for number, pair in enumerate(zip(one, other, strict=True)))
    else:
        return "" if one == other else f"{at}: {one!r} != {other!r}"
    return "\n".join(part for part in parts if part)
