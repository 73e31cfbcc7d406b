"""Limits of the whole tree: each kind of bomb is bounded, told, and cleaned away, and nothing of the group is left.

Every storm here runs inside a control group with a limit of its own, made by the launch that is tested.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from sandrun.errors import SandrunError, StepError
from sandrun.launch import launch as launch_plan
from sandrun.plan.format import CGROUP_BELOW, CGROUP_SCOPE, CGROUP_V1, Plan
from sandrun.primitives import cgroup, cgroup_files, cgroup_probe
from sandrun.primitives.cgroup_place import KILLER
from tests.integration.launching import Watch
from tests.support import CAN_BE_ROOT, descendants, in_child, need, need_program, need_root, reap_orphans, sandrun

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.support import Who

GROUPS = "/sys/fs/cgroup"
SPIN = "while :; do :; done"
DAEMON = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for _ in range(3):
    if os.fork():
        if os.getpid() != int(sys.argv[2]):
            os._exit(0)
        while not os.path.exists(sys.argv[1]):
            time.sleep(0.01)
        break
    os.setsid()
    sys.argv[2] = 0
else:
    open(sys.argv[1], "w").close()
    time.sleep(600)
"""
"""A daemon of three generations, each with a session of its own and deaf to SIGTERM."""
BOMB = """
import os, sys, time
open(sys.argv[1], "w").close()
while True:
    try:
        os.fork()
    except OSError:
        time.sleep(0.01)
"""


class Ended:
    """A finished launch: its exit status, what it said, and the outcome of its report."""

    def __init__(self, pid: int, status: int, said: str, report: Path) -> None:
        self.pid, self.status, self.said = pid, status, said
        document = json.loads(report.read_text())
        self.outcome: dict[str, Any] = document["outcome"]
        self.resources: dict[str, Any] = document["outcome"]["resources"]


class Launcher:
    """Starts sandrun as `who` where it can have a control group made."""

    def __init__(self, who: Who, prefix: Sequence[str], box: Path) -> None:
        self.who, self.prefix, self.box = who, list(prefix), box

    def popen(self, *args: str | Path, **options: Any) -> subprocess.Popen[str]:
        words: list[str | Path] = [*self.prefix, *self.who.sandrun, "-q", *args]
        options = {"cwd": self.box, "env": self.who.env, "text": True, "stdin": subprocess.DEVNULL, **options}
        return subprocess.Popen(words, stderr=subprocess.PIPE, **options)

    def __call__(self, *args: str | Path, timeout: float = 60, **options: Any) -> Ended:
        report = self.box / "report.json"
        with self.popen("--report", report, *args, **options) as process:
            try:
                said = process.communicate(timeout=timeout)[1]
            except BaseException:
                process.kill()
                raise
        assert not left(process.pid), "the group was removed"
        return Ended(process.pid, process.returncode, said, report)


def left(pid: int) -> list[str]:
    """The control groups that the launch with this pid made and that are still there."""
    mark = f"sandrun-{pid}-"
    return [f"{path}/{name}" for path, names, _ in os.walk(GROUPS) for name in names if name.startswith(mark)]


def soon(condition: Callable[[], object], seconds: float = 60) -> bool:
    """Whether it becomes true within this time."""
    end = time.monotonic() + seconds
    while not condition():
        reap_orphans()  # an init process ends when the others of its namespace are reaped
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def running(mark: Path) -> list[int]:
    """The processes with this path among their words."""
    found = []
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            if name.isdigit() and os.fsencode(mark) in Path(f"/proc/{name}/cmdline").read_bytes():
                found.append(int(name))
    return [pid for pid in found if pid != os.getpid()]


@contextlib.contextmanager
def delegated(who: Who) -> Iterator[list[str]]:
    """The words that start a program as this user alone in a group that was given to it (version 2), by root."""
    need_program("setpriv")
    group = Path(GROUPS, f"srtest-{os.getpid()}-{time.monotonic_ns()}")
    group.mkdir()
    for path in (group, group / "cgroup.procs", group / "cgroup.subtree_control"):
        os.chown(path, who.uid, who.gid)
    drop = f"exec setpriv --reuid {who.uid} --regid {who.gid} --clear-groups"
    try:
        yield ["/bin/sh", "-c", f'echo $$ >{group}/cgroup.procs && {drop} "$@"', "sh"]
    finally:
        assert soon(lambda: not [name for name in os.listdir(group) if name.startswith("sandrun-")]), "nothing is left"
        assert not (group / "cgroup.subtree_control").read_text().split(), "controllers are as they were"
        assert soon(lambda: is_removed(group)), "no process is left in it"


def is_removed(group: Path) -> bool:
    """Remove a group, unless a process is still about to leave it."""
    try:
        group.rmdir()
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return False
    return True


@pytest.fixture
def launch(who: Who, box: Path) -> Iterator[Launcher]:
    """As root wherever there are controllers; as an ordinary user by its systemd or in a group delegated to it."""
    found = cgroup_probe.probe()
    need(found.version and (found.usable or not CAN_BE_ROOT), found.reason)
    if who.is_root or (not CAN_BE_ROOT and found.usable):
        yield Launcher(who, (), box)
        return
    runtime = f"/run/user/{who.uid}"
    if os.path.exists(f"{runtime}/bus"):
        drop = ["setpriv", f"--reuid={who.uid}", f"--regid={who.gid}", "--clear-groups"]
        yield Launcher(who, [*drop, "env", f"XDG_RUNTIME_DIR={runtime}"], box)
        return
    if found.version != 2 or not CAN_BE_ROOT:
        pytest.skip("no control group can be delegated here")
    for name in ("memory", "pids", "cpu", "io"):
        need(name in Path(GROUPS, "cgroup.controllers").read_text().split(), f"the controller {name} is not there")
    Path(GROUPS, "cgroup.subtree_control").write_text("+memory +pids +cpu +io")
    with delegated(who) as prefix:
        yield Launcher(who, prefix, box)


def test_out_of_memory_is_said(launch: Launcher) -> None:
    """A memory bomb dies of SIGKILL, and one line and the report say of what."""
    done = launch("--memory", "100M", "--", "/usr/bin/python3", "-c", "x = bytearray(10**9)")
    assert done.status == 128 + signal.SIGKILL
    assert "out of memory: the command reached its limit of 100M (resources.memory)" in done.said
    assert done.resources["out_of_memory"] is True
    assert done.resources["oom_kills"] >= 1
    peak = done.resources["memory_peak"]
    assert peak is None or 90 << 20 <= peak <= 100 << 20


def test_memory_is_of_the_whole_tree(launch: Launcher) -> None:
    """Four processes of 40 MB each do not fit into 100 MB together, though each of them would."""
    bomb = "import os, time\nfor _ in range(3):\n    os.fork()\n    x = bytearray(40 << 20)\ntime.sleep(1)"
    done = launch("--memory", "100M", "--pids", "20", "--", "/usr/bin/python3", "-c", bomb)
    assert done.resources["out_of_memory"] is True


def test_what_fits_is_left_alone(launch: Launcher) -> None:
    """Below its limits a command runs as ever, and its counters are in the report."""
    words = ["--memory", "200M", "--pids", "20", "--cpu", "100%"]
    done = launch(*words, "--", "/usr/bin/python3", "-c", "x = bytearray(50 << 20); raise SystemExit(7)")
    assert (done.status, done.said) == (7, "")
    assert (done.resources["out_of_memory"], done.resources["pids_refused"]) == (False, 0)
    peak = done.resources["memory_peak"]
    assert peak is None or 50 << 20 <= peak <= 100 << 20


def test_fork_bomb(launch: Launcher) -> None:
    """It never gets beyond its number, is ended by the timeout, and the host goes on meanwhile."""
    mark = launch.box / "bomb"
    launch.who.own(launch.box)
    report = launch.box / "report.json"
    words = ["--report", report, "--write", launch.box, "--pids", "50", "--timeout", "5s", "--grace", "100ms"]
    with launch.popen(*words, "--", "/usr/bin/python3", "-c", BOMB, mark) as process:
        assert soon(mark.exists)
        most = 0
        end = time.monotonic() + 1
        while time.monotonic() < end:
            most = max(most, len(running(mark)))
            began = time.monotonic()
            subprocess.run(["/bin/true"], check=True)
            assert time.monotonic() - began < 30, "the host responds"
        said = process.communicate(timeout=60)[1]
    # The launcher itself has the mark among its words; in a pid namespace its init process has them, too.
    assert 5 <= most <= 53, "however slow the machine"
    assert process.returncode == 124
    assert "reached its limit of processes (resources.pids)" in said
    assert json.loads(report.read_text())["outcome"]["resources"]["pids_refused"] > 0
    assert json.loads(report.read_text())["outcome"]["survivors"] == []
    assert not running(mark)
    assert not left(process.pid)


def test_one_process_is_one(launch: Launcher) -> None:
    """--pids 1 is the command and nothing else, in a pid namespace as well."""
    code = "import os, time\ntime.sleep(0.3)\ntry:\n    os.fork()\nexcept OSError as error:\n    os._exit(error.errno)"
    for isolate in ("false", "signals", "true"):
        words = ["--isolate", isolate, "--optional", "process.isolate", "--pids", "1"]
        assert launch(*words, "--", "/usr/bin/python3", "-c", code).status == errno.EAGAIN


def test_processor_time(launch: Launcher) -> None:
    """Two spinning processes get a fifth of a processor together."""
    done = launch("--cpu", "20%", "--timeout", "2s", "--grace", "0s", "--", "/bin/sh", "-c", f"({SPIN}) & {SPIN}")
    assert done.status == 124
    assert done.outcome["user"] + done.outcome["system"] < 0.4 * done.outcome["wall"], "not two processors, nor one"
    assert done.resources["throttled"] > 0


def test_huge_file(launch: Launcher, box: Path) -> None:
    """A file ends at the limit of its size."""
    launch.who.own(box)
    words = ["--write", box, "--rlimit", "fsize=1M", "--memory", "100M"]
    done = launch(*words, "--", "/bin/sh", "-c", "exec cat /dev/zero >huge")
    assert done.status == 128 + signal.SIGXFSZ
    assert (box / "huge").stat().st_size == 1 << 20


def test_slow_disk(launch: Launcher, box: Path) -> None:
    """Reading past the page cache goes as fast as it may, and so do writes, put off or not: 3 MB at 1 MB a second."""
    if "env" in launch.prefix:
        pytest.skip("systemd does not delegate io to its users")
    need(cgroup_probe.probe().disks, "there is no disk")
    device = os.stat(box).st_dev
    need(f"{os.major(device)}:{os.minor(device)}" in cgroup_probe.probe().disks, f"{box} is on no disk")
    launch.who.own(box)
    (box / "data").write_bytes(os.urandom(3 << 20))
    subprocess.run(["/bin/sync", box / "data"], check=True)
    words = ["--optional", "resources.io", "--io", "1M", "--write", box, "--", "/bin/dd", "bs=512k", "status=none"]
    done = launch(*words, "if=data", "iflag=direct", "of=/dev/null")
    assert done.status == 0, done.said
    assert done.outcome["wall"] > 1.5
    if cgroup_probe.probe().version == 2:
        for how in ("oflag=direct", "conv=fsync"):
            done = launch(*words, "if=/dev/zero", "count=6", "of=written", how)
            assert done.status == 0, done.said
            assert done.outcome["wall"] > 1.5, how


def test_daemons_end_with_the_command(launch: Launcher) -> None:
    """Processes in sessions of their own that are deaf to SIGTERM are gone when sandrun is."""
    mark = launch.box / "daemon"
    code = f"import os, sys\nsys.argv[2] = os.getpid()\n{DAEMON}"
    words = ["--write", launch.box, "--pids", "20", "--isolate", "false"]
    done = launch(*words, "--", "/usr/bin/python3", "-c", code, mark, "0")
    assert done.status == 0
    assert mark.exists(), "the daemon was there"
    assert done.outcome["killed"] >= 1
    assert not running(mark)


@pytest.mark.parametrize("isolate", ["false", "true"])
def test_kill_of_the_supervisor(launch: Launcher, isolate: str) -> None:
    """kill -9 of sandrun ends the daemons as well and removes the group, with and without a pid namespace."""
    mark = launch.box / "daemon"
    before = set(descendants())
    code = f"import os, sys\nsys.argv[2] = os.getpid()\n{DAEMON}\ntime.sleep(600)"
    words = ["--write", launch.box, "--pids", "20", "--isolate", isolate, "--optional", "process.isolate"]
    with launch.popen(*words, "--", "/usr/bin/python3", "-c", code, mark, "0") as process:
        assert soon(mark.exists)
        assert left(process.pid)
        process.kill()
        process.wait()
    assert soon(lambda: not running(mark) and set(descendants()) <= before), "no process is left"
    assert soon(lambda: not left(process.pid)), "no group is left"


def test_kill_of_the_whole_process_group(launch: Launcher) -> None:
    """The guardian is in a session of its own, so that a SIGKILL to the caller's group does not reach it."""
    mark = launch.box / "daemon"
    before = set(descendants())
    code = f"import os, sys\nsys.argv[2] = os.getpid()\n{DAEMON}\ntime.sleep(600)"
    words = ["--write", launch.box, "--pids", "20", "--isolate", "false"]
    with launch.popen(*words, "--", "/usr/bin/python3", "-c", code, mark, "0", process_group=0) as process:
        assert soon(mark.exists)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert soon(lambda: not running(mark) and set(descendants()) <= before), "no process is left"
    assert soon(lambda: not left(process.pid)), "no group is left"


def test_no_way_out_of_the_group(launch: Launcher) -> None:
    """The command can neither move to another group nor raise its limits."""
    # Groups of other tests go while find(1) walks, which it says.
    script = """
    for file in $(find /sys/fs/cgroup -name cgroup.procs 2>/dev/null); do (echo $$ >"$file") 2>/dev/null && echo "$file" >&2; done
    for file in $(find /sys/fs/cgroup -path '*sandrun-*' -name '*.max' 2>/dev/null); do (echo max >"$file") 2>/dev/null && echo "$file" >&2; done
    exit 0
    """
    done = launch("--read", "/", "--pids", "20", "--", "/bin/sh", "-c", script)
    assert (done.status, done.said) == (0, "")


def test_a_command_that_cannot_be_executed_leaves_no_group(launch: Launcher) -> None:
    words = ["--execute", launch.box, "--pids", "20", "--", launch.box / "script"]
    script = launch.box / "script"
    script.write_text("#!/nonexistent\n")
    script.chmod(0o755)
    with launch.popen(*words) as process:
        assert "/nonexistent" in process.communicate(timeout=30)[1]
    assert process.returncode == 126
    assert not left(process.pid)


@pytest.mark.parametrize("memory", ["4K", "800K", "1M", "2M"])
def test_too_little_memory_to_start(launch: Launcher, memory: str) -> None:
    """Whichever of the processes before the command the kernel kills: 125 and the reason, never a wait for ever."""
    with launch.popen("--memory", memory, "--", "true") as process:
        said = process.communicate(timeout=30)[1]
    assert process.returncode in (0, 125, 137)
    assert process.returncode == 0 or "memory" in said
    assert not left(process.pid)


# --- as root ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def project(root: Who) -> Path:
    """A directory to start in: the home itself would be granted whole."""
    path = root.home / "project"
    path.mkdir()
    return path


class Abandoned(NamedTuple):
    """Groups, and the descriptors that hold their locks."""

    groups: list[Path]
    locks: list[int]


@pytest.fixture
def abandoned() -> Iterator[Abandoned]:
    """A group as a launch leaves it when all of it is killed, in each directory where groups are made.

    Locked at first: launches of other tests sweep as well.
    """
    need_root()
    found = cgroup_probe.probe()
    if found.way == CGROUP_SCOPE:
        pytest.skip("each launch has a scope of systemd, which nobody else looks into")
    need(found.way in (CGROUP_V1, CGROUP_BELOW), found.reason or "groups are made elsewhere")
    parents = dict.fromkeys(found.place(name) for name in ("memory", "pids", KILLER) if found.place(name))
    locks: list[int] = []
    groups = [Path(os.fsdecode(cgroup._make_below(os.fsencode(parent), locks))) for parent in parents]
    yield Abandoned(groups, locks)
    for fd in locks:
        os.close(fd)
    for group in groups:
        with contextlib.suppress(FileNotFoundError):
            group.rmdir()


def test_what_a_killed_launch_left_is_swept(root: Who, project: Path, abandoned: Abandoned) -> None:
    """The next launch ends the processes of an abandoned group and removes it."""
    with subprocess.Popen(["/bin/sleep", "600"]) as sleeper:
        for group in abandoned.groups:
            (group / "cgroup.procs").write_text(str(sleeper.pid))
        while abandoned.locks:
            os.close(abandoned.locks.pop())
        sandrun("-q", "--memory", "100M", "--", "true", who=root, cwd=project, check=True)
        assert sleeper.wait(60) == -signal.SIGKILL
    assert soon(lambda: not [group for group in abandoned.groups if group.exists()])


def test_a_group_in_use_is_not_swept(root: Who, project: Path, abandoned: Abandoned) -> None:
    """A locked group belongs to somebody, and one with another name is not ours."""
    other = abandoned.groups[0].with_name(f"sandrun-of-somebody-{os.getpid()}")
    other.mkdir()
    try:
        sandrun("-q", "--memory", "100M", "--", "true", who=root, cwd=project, check=True)
        assert all(group.exists() for group in [*abandoned.groups, other])
    finally:
        other.rmdir()


def test_kills_at_any_moment(root: Who, project: Path) -> None:
    """Whenever sandrun is killed, after the next launch nothing is left of its group and its processes."""
    mark = project / "mark"
    launcher = Launcher(root, (), project)
    killed = []
    before = set(descendants())
    for number in range(15):
        words = ["--memory", "100M", "--isolate", "false", "--", "/bin/sh", "-c", "sleep 600 & sleep 600", mark]
        with launcher.popen(*words) as process:
            time.sleep(0.08 + 0.02 * number)
            process.kill()
            killed.append(process.pid)
    assert launcher("--memory", "100M", "--", "true").status == 0
    assert soon(lambda: not running(mark) and set(descendants()) <= before)
    assert soon(lambda: not any(map(left, killed)))


def test_a_group_that_cannot_be_entered(who: Who) -> None:
    """The command does not run outside of its group: 125, and the step by its name."""

    def attempt() -> str:
        class Closed(Watch):
            group = cgroup.Group(Plan())

        Closed.group.joins.append(os.open("/dev/full", os.O_WRONLY | os.O_CLOEXEC))
        with pytest.raises(StepError) as caught:
            launch_plan(Plan(executable=b"/bin/true", argv=(b"true",)), {}, Closed())
        return caught.value.step

    assert in_child(attempt, who) == "join the control group"


STAND_IN = """#!/bin/sh
echo "$@" >{said}
shift 8
group={mount}/srtest.slice/$1
mkdir -p $group
echo $7 >$group/cgroup.procs
"""
"""What systemd does for StartTransientUnit: a group of that name, and the process moved into it."""


@pytest.fixture
def newer() -> str:
    """Where version 2 is mounted, with or without controllers."""
    need_root()
    found = cgroup_probe.hierarchies(Path("/proc/self/cgroup").read_text(), Path("/proc/self/mountinfo").read_text())
    mounts = [one.point for one in found if one.version == 2 and one.directory]
    need(mounts, "version 2 is not mounted")
    return mounts[0]


def own_group() -> str:
    """The path of this process in the hierarchy of version 2."""
    return Path("/proc/self/cgroup").read_text().partition("0::")[2].splitlines()[0]


def test_a_scope_of_systemd(newer: str, tmp_path: Path) -> None:
    """systemd is asked for a delegated scope with this process; in there it steps aside, and back at the end.

    A stand-in answers for systemd, which this test cannot count on.
    """
    said, program = tmp_path / "said", tmp_path / "busctl"
    program.write_text(STAND_IN.format(said=said, mount=newer))
    program.chmod(0o755)

    def attempt() -> None:
        cgroup.BUSCTL = os.fsencode(program)
        scope = f"/srtest.slice/sandrun-{os.getpid()}.scope"
        before = own_group()
        try:
            group = cgroup.make(Plan(cgroup_way=CGROUP_SCOPE, cgroup_parents=(newer.encode(),)))
            assert group
            assert [os.path.dirname(path).decode() for path in group.paths] == [newer + scope]
            assert os.path.dirname(own_group()) == scope, "nothing stands in the way of its controllers"
            assert group.own.decode() == newer + own_group()
            assert group.remove() == ()
            assert own_group() == scope
            assert not [name for name in os.listdir(newer + scope) if name.startswith("sandrun-")]
        finally:
            Path(newer + before, "cgroup.procs").write_text("0")
            for path in (newer + scope, newer + os.path.dirname(scope)):
                os.rmdir(path)
        words = said.read_text().split()
        assert words[:8] == [
            "--system",
            "--quiet",
            "call",
            "org.freedesktop.systemd1",
            "/org/freedesktop/systemd1",
            "org.freedesktop.systemd1.Manager",
            "StartTransientUnit",
            "ssa(sv)a(sa(sv))",
        ]
        most = cgroup_files.lowest_pids_max(newer.encode(), newer.encode() + before.encode()).decode()
        assert words[8:] == [
            f"sandrun-{os.getpid()}.scope",
            "fail",
            "4" if most else "3",
            "PIDs",
            "au",
            "1",
            str(os.getpid()),
            "Delegate",
            "b",
            "true",
            "CollectMode",
            "s",
            "inactive-or-failed",
            *(["TasksMax", "t", most] if most else []),
            "0",
        ]

    in_child(attempt)


def test_systemd_that_refuses(newer: str) -> None:
    """If systemd makes no scope, the launch says so, with something to try."""

    def attempt() -> SandrunError:
        cgroup.BUSCTL = b"/bin/false"
        with pytest.raises(SandrunError) as caught:
            cgroup.make(Plan(cgroup_way=CGROUP_SCOPE, cgroup_parents=(newer.encode(),)))
        return caught.value

    error = in_child(attempt)
    assert "busctl ended with status 1" in error.message
    assert "systemd-run" in str(error.hint)


NO_GROUPS = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /sys/fs/cgroup && exec "$@"', "sh"]


def test_without_controllers_it_fails_closed(root: Who, project: Path) -> None:
    """Where no control group can be had: 125 with the reason and what to do, for each key."""
    for option, value in (("--memory", "100M"), ("--pids", "20"), ("--cpu", "50%"), ("--io", "1M")):
        done = root.run([*NO_GROUPS, *root.sandrun, option, value, "--", "true"], cwd=project)
        assert done.returncode == 125
        assert "control group" in done.stderr
        assert f"--optional resources.{option[2:]}" in done.stderr


def test_the_weaker_limit_is_named(root: Who, project: Path) -> None:
    """An optional limit becomes one of setrlimit(2) that holds, and the warning says how it is weaker."""
    bomb = ["--", "/usr/bin/python3", "-c", "x = bytearray(10**9)"]
    words = [*NO_GROUPS, *root.sandrun, "--memory", "500M", "--optional", "resources.memory"]
    done = root.run([*words, *bomb], cwd=project)
    assert done.returncode == 1
    assert "MemoryError" in done.stderr
    assert "address space of each process" in done.stderr


def test_an_ordinary_user_is_told(who: Who, box: Path) -> None:
    """A user who was given no group gets 125 and a remedy, not less than was asked for."""
    if who.is_root or in_child(lambda: cgroup_probe.probe().usable, who):
        pytest.skip("this user can have groups made")
    done = sandrun("--memory", "100M", "--", "true", who=who, cwd=box)
    assert done.returncode == 125
    assert "hint: " in done.stderr
