"""Two hundred mixed runs, a third of them killed at random moments, leave nothing behind.

Mounts, processes, control groups, files of TMPDIR, /tmp and /run/sandrun, and the state directory are compared before
and after. After SIGKILL of sandrun itself the manual names what stays: a workspace, as interrupted, and private
directories where there is no mount namespace.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import pytest

from sandrun.accounts import DIRECTORY
from sandrun.plan.account import LAST
from sandrun.primitives import cgroup_probe
from tests.integration.test_namespaces import WITHOUT
from tests.support import (
    PATIENCE,
    WHOS,
    Who,
    descendants,
    files_below,
    in_child,
    need_namespaces,
    need_program,
    reap_orphans,
    sandrun,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

RUNS = 200 // len(WHOS)
AT_ONCE = 4
"""Runs at the same time: they must not take away what is another's either."""
LATEST_KILL = 0.5
"""Seconds after the start: python, the plan, the fork, the command and the clearing away all fall into it."""
MARK = "SANDRUN_TEST_RUN"
DAEMONS = "(setsid sleep 61 &) ; setsid sh -c 'trap : TERM HUP; sleep 62 & sleep 63' & exit 3"
STORM = "i=0; while [ $i -lt 12 ]; do i=$((i + 1)); (setsid sh -c 'sleep 64 & sleep 65' &) ; done; exit 3"
LITTER = (
    "mkdir -p $HOME/a/b $TMPDIR/c && echo x >$HOME/a/b/file && echo y >$TMPDIR/c/.hidden && chmod 0 $TMPDIR/c; exit 3"
)
CHANGES = "echo new >new; mkdir made; rm old; exit 0"
DEAF = "trap '' TERM; (setsid sleep 66 &) ; sleep 67 & wait; sleep 68"


class Kind(NamedTuple):
    """A kind of run: options, the shell script it runs (None: sleep alone, which is killed or short), and its status.

    `kept`: what the manual says of a run that is killed.
    """

    name: str
    options: tuple[str, ...]
    script: str | None
    status: int = 3
    kept: str = ""
    terminal: bool = False
    prefix: tuple[str, ...] = ()


def kinds(who: Who, *, groups: bool) -> list[Kind]:
    """What can be had by this user."""
    overlay = [
        Kind(f"overlay {word}", ("--overlay", ".", "--on-exit", word), CHANGES, 0, "workspace")
        for word in ("ask", "commit", "discard", "keep")
    ]
    bare = ("-p", "none", "--read", "@system", "--execute", "@system", "--isolate", "false")
    found = [
        Kind("default", (), DAEMONS),
        Kind("default, storm", (), STORM),
        Kind("build", ("-p", "build"), LITTER),
        Kind("net-only", ("-p", "net-only"), DAEMONS),
        Kind("strict", ("-p", "strict"), None, 0),
        Kind("without namespaces", bare, None, 0),
        Kind("private", (*bare[:-2], "--tmp", "private", "--home", "private"), LITTER),
        Kind("timeout", ("--timeout", "150ms", "--grace", "50ms"), DEAF, 124),
        Kind("pty", ("--tty", "pty"), DAEMONS, terminal=True),
        Kind("by name", ("--loopback", "--hostname", "box", "--namespace", "cgroup"), DAEMONS),
        *overlay,
    ]
    if groups:
        found.append(Kind("group", ("--memory", "300M", "--pids", "60"), STORM))
        found.append(Kind("group without namespaces", (*bare, "--memory", "300M"), DAEMONS))
    if who.is_root:
        found.append(Kind("a user of its own", ("-p", "net-only", "--tmp", "private", "--user", "dynamic"), DAEMONS))
    else:
        prefix = ("unshare", "--user", "--map-current-user", "--keep-caps", "sh", "-c", WITHOUT, "sh")
        words = (
            "--isolate",
            "signals",
            "--proc",
            "host",
            "--optional",
            "filesystem.write",
            "--optional",
            "process.isolate",
        )
        found.append(Kind("no user namespaces", words, LITTER, kept="private directories", prefix=prefix))
    return found


class Run:
    """One of them, in a directory of its own, to be killed after `life` seconds if that is not None."""

    def __init__(self, who: Who, kind: Kind, place: Path, life: float | None) -> None:
        self.kind, self.place, self.life = kind, place, life
        place.mkdir()
        (place / "old").write_text("old\n")
        who.own(place, place / "old")
        command = ["sleep", "60" if life is not None else "0"]
        if kind.script is not None:
            # Some of the killed ones get to their end, where sandrun clears away.
            go_on = "exec sleep 60;" if life is not None and life > LATEST_KILL / 3 else ""
            head, _, status = kind.script.rpartition(" ")
            script = f"{head.removesuffix('exit')} {go_on} exit {status}" if head.endswith("exit") else kind.script
            command = ["sh", "-c", script]
        words = [*kind.prefix, *who.sandrun, "-q", "--env", MARK, *kind.options, "--", *command]
        options: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
        self.master = -1
        if kind.terminal:
            self.master, slave = os.openpty()
            os.fchown(slave, who.uid, who.gid)
            words = ["sh", "-c", 'exec "$@" <"$0" >"$0"', os.ttyname(slave), *words]
            options = {"start_new_session": True}
        self.errors = (place.parent / f"{place.name}.errors").open("w+")
        env = {**who.env, **environment(place.parent), MARK: place.parent.name}
        self.process = who.popen(words, cwd=place, env=env, stderr=self.errors, **options)
        if kind.terminal:
            os.close(slave)
        self.began = time.monotonic()

    def has_ended(self) -> bool:
        """Whether it has; kills it if its time has come."""
        if self.process.poll() is None:
            if self.life is not None and time.monotonic() - self.began > self.life:
                self.process.kill()  # sandrun alone, by its process id
            assert time.monotonic() - self.began < 100 * PATIENCE, self.kind
            return False
        return True

    def judge(self) -> None:
        """What was not killed ended as its command did, or was what it should be: it ran."""
        if self.master >= 0:
            os.close(self.master)
        self.errors.seek(0)
        said = self.errors.read()
        self.errors.close()
        os.unlink(self.errors.name)
        expected = {self.kind.status, *((-signal.SIGKILL,) if self.life is not None else ())}
        assert self.process.returncode in expected, f"{self.kind} {self.process.returncode}\n{said}"


def environment(place: Path) -> dict[str, str]:
    """Where sandrun keeps what it keeps."""
    return {"XDG_STATE_HOME": f"{place}/state", "XDG_CONFIG_HOME": f"{place}/config"}


def all_runs(who: Who, box: Path, chosen: list[Kind]) -> Iterator[Run]:
    """Each kind as often as the others, every third run killed, in an order and at moments of a fixed seed."""
    chance = random.Random(20261122)
    order = [(chosen[number % len(chosen)], number // len(chosen) % 3 == 1) for number in range(RUNS)]
    chance.shuffle(order)
    for number, (kind, killed) in enumerate(order):
        yield Run(who, kind, box / str(number), chance.uniform(0, LATEST_KILL) if killed else None)


def of_these_runs(mark: str) -> dict[int, str]:
    """Processes that live: those below this one, which is the subreaper, and all with the mark in their environment."""
    found = descendants()
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            if name.isdigit() and f"{MARK}={mark}\0".encode() in Path(f"/proc/{name}/environ").read_bytes():
                found[int(name)] = Path(f"/proc/{name}/comm").read_text()
    return found


def groups_of(pids: list[list[str]]) -> list[str]:
    """The control groups that these supervisors made."""
    walk = (f"{path}/{name}" for path, names, _ in os.walk("/sys/fs/cgroup") for name in names)
    return [
        path for path in walk if (words := path.rpartition("/")[2].split("-"))[0] == "sandrun" and words[1:2] in pids
    ]


def folders() -> set[tuple[str, int]]:
    """What sandrun makes in places that all share, with its number: private directories elsewhere than in TMPDIR, and
    claims of uids. What was made anew by the same name is another one."""
    found = [
        f"{place}/{name}" for place in ("/tmp", "/var/tmp") for name in os.listdir(place) if name[:8] == "sandrun-"
    ]
    found += [f"/dev/shm/{name}" for name in os.listdir("/dev/shm")]
    found += [f"{path}/{name}" for path, folders, names in os.walk("/run/sandrun") for name in folders + names]
    made = set()
    for path in found:
        with contextlib.suppress(FileNotFoundError):
            made.add((path, os.lstat(path).st_ino))
    return made


def mounts() -> set[str]:
    return set(Path("/proc/self/mountinfo").read_text().splitlines())


def soon(condition: Any) -> bool:
    """Whether it comes true within some seconds; the dead must be reaped for the living to end."""
    end = time.monotonic() + 60 * PATIENCE
    while not condition():
        if time.monotonic() > end:
            return False
        reap_orphans()
        time.sleep(0.01)
    return True


@pytest.mark.timeout(600)
def test_nothing_is_left(who: Who, box: Path) -> None:
    """What was there before is there after, and nothing else but what the manual says."""
    need_namespaces(who)
    need_program("setpriv")
    groups = in_child(lambda: cgroup_probe.probe().usable, who)
    chosen = kinds(who, groups=groups)
    for name in ("state", "config"):
        (box / name / "sandrun").mkdir(parents=True)
        who.own(box / name, box / name / "sandrun")
    mounted, shared = mounts(), folders()
    waiting, running, ended = all_runs(who, box, chosen), list[Run](), list[Run]()
    while True:
        while len(running) < AT_ONCE and (run := next(waiting, None)):
            running.append(run)
        if not running:
            break
        over = [run for run in running if run.has_ended()]
        running = [run for run in running if run not in over]
        for run in over:
            run.judge()
            ended.append(run)
        time.sleep(0.005)
    killed = [run for run in ended if run.process.returncode == -signal.SIGKILL]
    assert len(ended) == RUNS
    assert len(killed) > RUNS / 5
    assert len({run.kind.name for run in killed}) > len(chosen) * 2 / 3, "most kinds were killed at least once"

    assert soon(lambda: not of_these_runs(box.name)), of_these_runs(box.name)
    pids = [[str(run.process.pid)] for run in ended]
    assert soon(lambda: not groups_of(pids)), groups_of(pids)

    new = folders() - shared
    new_mounts = mounts() - mounted

    def more_folders() -> set[tuple[str, int]]:
        """Those that have been there at every look: others may be running tests and sandboxes, and theirs come and go."""
        if who.is_root:  # a uid whose supervisor was killed is swept by the next launch that takes one
            sandrun("-q", "-p", "net-only", "--user", "dynamic", "--", "true", who=who, cwd=box / "0", check=True)
        new.intersection_update(folders())
        return new

    assert soon(lambda: not more_folders()), new
    assert soon(lambda: not new_mounts & mounts()), new_mounts & mounts()
    private = {path.name for path in who.tmp.iterdir()}
    may_stay = [run for run in killed if run.kind.kept == "private directories"]
    assert len(private) <= 2 * len(may_stay)
    for name in private:
        assert name.startswith("sandrun-")
        subprocess.run(["rm", "-rf", who.tmp / name], check=True)
    assert files_below(who.home) == set()
    judge_workspaces(who, box, ended, killed)
    assert files_below(box / "state") == {f"d {box}/state/sandrun", f"d {box}/state/sandrun/workspaces"}


def judge_workspaces(who: Who, box: Path, ended: list[Run], killed: list[Run]) -> None:
    """Each belongs to a run that kept it or was killed; all of them can be discarded, and the trees are whole."""
    env = {**who.env, **environment(box)}
    listed = json.loads(sandrun("workspace", "list", "--json", who=who, cwd=box, env=env, check=True).stdout)
    for one in listed["workspaces"]:
        run = next(run for run in ended if [str(run.place)] == one["directories"])
        if one["state"] == "interrupted":
            assert run in killed
        else:
            assert one["state"] == "kept"
            assert run.kind.name in ("overlay ask", "overlay keep") or run in killed
    done = sandrun("workspace", "discard", "--all", who=who, cwd=box, env=env)
    assert done.returncode == 0, done.stderr
    for run in ended:
        names = set(os.listdir(run.place))
        if run.kind.name == "overlay commit" and run not in killed and run.process.returncode == 0:
            assert names == {"new", "made"}, run.kind
        elif run.kind.name.startswith("overlay") and run not in killed:
            assert names == {"old"}, run.kind
        elif run.kind.kept == "workspace":
            assert names in ({"old"}, {"new", "made"}, {"new", "made", "old"}, {"made", "old"}, {"new", "old"}), names
        else:
            assert names == {"old"}, run.kind


def test_what_a_killed_launch_began(who: Who, box: Path) -> None:
    """An unfinished workspace is none, is not taken away while it is made, and goes with the next one."""
    need_namespaces(who)
    base, project = box / "state/sandrun/workspaces", box / "project"
    unfinished = base / ".new-20260101-000000-abcdef"
    for path in (project, unfinished / "upper/0", box / "config/sandrun"):
        path.mkdir(parents=True)
    base.chmod(0o700)
    who.own(project, *base.parents[:2], base, unfinished, unfinished / "upper", unfinished / "upper/0")
    env = {**who.env, **environment(box)}
    words = ("-q", "--overlay", ".", "--", "true")
    descriptor = os.open(base, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with who.popen([*who.sandrun, *words], cwd=project, env=env) as making:
        assert sandrun("workspace", "list", "--ids", who=who, cwd=project, env=env, check=True).stdout == ""
        assert unfinished.exists()
        os.close(descriptor)
        assert making.wait(60) == 0
    assert sandrun(*words, who=who, cwd=project, env=env).returncode == 0
    assert os.listdir(base) == []


def locked(path: Path) -> IO[str]:
    """The file, with its lock; another launch may just have taken it for a leftover and removed it."""
    while True:
        file = path.open("w")
        fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink:
            return file
        file.close()


def test_a_uid_whose_supervisor_was_killed(root: Who) -> None:
    """The file that claims a number goes at the next launch, unless somebody holds its lock."""
    need_namespaces(root)
    words = ("-q", "-p", "net-only", "--user", "dynamic", "--", "true")
    assert sandrun(*words, who=root, cwd="/usr").returncode == 0
    left, held = (Path(DIRECTORY, str(LAST - number)) for number in range(2))
    left.touch()
    with locked(held):
        assert sandrun(*words, who=root, cwd="/usr").returncode == 0
        assert soon(lambda: not left.exists()), "another launch may look at it right now"
        assert held.exists()
    held.unlink()
