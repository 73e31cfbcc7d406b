"""Control groups by a real systemd, its system manager as root and its user manager as an ordinary user.

`make test-systemd` runs these, and those of `test_cgroup`, where systemd is process 1.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.test_cgroup import DAEMON, GROUPS, left, running, soon
from tests.support import Who, need, sandrun

if TYPE_CHECKING:
    from collections.abc import Iterator

PRINT_GROUP = ("cat", "/proc/self/cgroup")


class User:
    """A user with a manager of systemd that can be asked for scopes."""

    def __init__(self, who: Who, box: Path) -> None:
        self.who, self.box = who, box
        self.manager = "--system" if who.is_root else "--user"
        self.env = who.env | {"XDG_RUNTIME_DIR": f"/run/user/{who.uid}"}

    def run(self, *args: str | Path) -> subprocess.CompletedProcess[str]:
        return sandrun("-q", *args, who=self.who, cwd=self.box, env=self.env)

    def popen(self, *args: str | Path) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        words = [*self.who.sandrun, "-q", *args]
        return self.who.popen(words, cwd=self.box, env=self.env, text=True, stdout=pipe, stderr=pipe)

    def in_scope(self, *properties: str, shell: str, args: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
        """Run sandrun by a line of the shell, in a scope with these properties, where `"$@"` is the command line."""
        words = ["systemd-run", self.manager, "--scope", "--quiet", "--collect"]
        words += [f"--property={one}" for one in properties]
        words += ["/bin/sh", "-c", shell, "sh", *self.who.sandrun, *args]
        done: subprocess.CompletedProcess[str] = self.who.run(words, cwd=self.box, env=self.env)
        return done

    def systemctl(self, *args: str) -> str:
        words = ["systemctl", self.manager, "--no-pager", *args]
        return str(self.who.run(words, env=self.env).stdout)

    def scopes(self) -> str:
        """The scopes of ours that the manager knows, ended or not."""
        return self.systemctl("list-units", "--all", "--plain", "--no-legend", "sandrun-*")


def members(launch: int) -> list[str]:
    """The names of the processes in the groups of a launch."""
    pids = [pid for group in left(launch) for pid in Path(group, "cgroup.procs").read_text().split()]
    found = []
    for pid in pids:
        with contextlib.suppress(OSError):
            found.append(Path(f"/proc/{pid}/comm").read_text().strip())
    return found


@pytest.fixture
def user(who: Who, box: Path) -> Iterator[User]:
    if not os.path.isdir("/run/systemd/system"):
        pytest.skip("systemd is not process 1 here")
    need(who.is_root or os.path.exists(f"/run/user/{who.uid}/bus"), f"no systemd runs for uid {who.uid}")
    made = User(who, box)
    yield made
    assert soon(lambda: not made.scopes()), "no unit is left"
    assert not list(Path(GROUPS).glob("**/sandrun-*")), "no group is left"


def test_the_scope(user: User) -> None:
    """The command is below a delegated scope of its user's manager, and its limits are the kernel's."""
    with user.popen("--memory", "100M", "--pids", "20", "--isolate", "false", "--", "sleep", "600") as process:
        unit = f"sandrun-{process.pid}.scope"
        assert soon(lambda: "sleep" in members(process.pid), 60)
        assert "Delegate=yes" in user.systemctl("show", "-p", "Delegate", unit)
        groups = [path for path in left(process.pid) if (Path(path) / "pids.max").read_text() == "20\n"]
        assert len(groups) == 1, "in the other one is sandrun itself"
        assert (Path(groups[0]) / "memory.max").read_text() == f"{100 << 20}\n"
        assert os.path.basename(os.path.dirname(groups[0])) == unit
        manager = "system.slice" if user.who.is_root else f"user@{user.who.uid}.service/app.slice"
        assert groups[0].split(f"/{unit}/")[0].endswith(manager)
        process.terminate()
        assert process.wait(30) == 128 + signal.SIGTERM


def test_kill_of_the_supervisor(user: User) -> None:
    """kill -9 of sandrun, alone or with its process group, ends daemons, the group and the scope."""
    for isolate, whole in (("false", False), ("true", False), ("false", True)):
        mark = user.box / f"daemon-{isolate}-{whole}"
        code = f"import os, sys\nsys.argv[2] = os.getpid()\n{DAEMON}\ntime.sleep(600)"
        words: list[Any] = ["--write", user.box, "--pids", "20", "--isolate", isolate, "--", "/usr/bin/python3", "-c"]
        argv = [*user.who.sandrun, "-q", *words, code, mark, "0"]
        with user.who.popen(argv, cwd=user.box, env=user.env, process_group=0) as process:
            assert soon(mark.exists, 60)
            (os.killpg if whole else os.kill)(process.pid, signal.SIGKILL)
        assert soon(lambda mark=mark: not running(mark)), "no process is left"  # type: ignore[misc]


def test_stopped_by_the_manager(user: User) -> None:
    """`systemctl stop` of the scope ends sandrun and the command."""
    with user.popen("--memory", "100M", "--", "sleep", "600") as process:
        unit = f"sandrun-{process.pid}.scope"
        assert soon(lambda: "sleep" in members(process.pid), 60)
        user.systemctl("stop", unit)
        assert process.wait(30) in (128 + signal.SIGTERM, -signal.SIGTERM)


def test_many_at_once(user: User) -> None:
    """Each launch has a scope of its own."""
    running = [user.popen("--memory", "100M", "--pids", "5", "--", *PRINT_GROUP) for _ in range(5)]
    done = [(process.communicate(timeout=60), process.returncode) for process in running]
    assert [status for _, status in done] == [0] * 5, done
    assert len({out for (out, _), _ in done}) == 5


def test_alone_in_a_delegated_scope(user: User) -> None:
    """What the hint says to do: the group is made in there, below the limits of that scope."""
    args = ("-q", "--pids", "20", "--", *PRINT_GROUP)
    done = user.in_scope("Delegate=yes", "MemoryMax=500M", shell='exec "$@"', args=args)
    assert done.returncode == 0, done.stderr
    assert "/run-" in done.stdout
    assert ".scope/sandrun-" in done.stdout


@pytest.mark.parametrize("limit", ["MemoryMax=500M", "MemoryHigh=400M", "CPUQuota=50%"])
def test_no_way_out_of_the_limits_of_the_caller(user: User, limit: str) -> None:
    """Where a scope would be one, it is refused; a scope that has no limit is left as ever."""
    args = ("-q", "--pids", "20", "--", *PRINT_GROUP)
    done = user.in_scope(limit, shell='"$@"; exit $?', args=args)
    assert done.returncode == 125
    assert "would be a way out of" in done.stderr
    assert "-p Delegate=yes sandrun" in done.stderr
    assert user.in_scope(shell='"$@"; exit $?', args=args).returncode == 0


def test_the_number_of_processes_of_the_caller(user: User) -> None:
    """systemd sets one on every unit: the scope gets that of the caller's."""
    shell = 'cat "/sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup)/../pids.max"'
    args = ("-q", "--pids", "900", "--read", GROUPS, "--", "/bin/sh", "-c", shell)
    done = user.in_scope("TasksMax=77", shell='"$@"; exit $?', args=args)
    assert (done.returncode, done.stdout) == (0, "77\n"), done.stderr


def test_in_another_pid_namespace_systemd_is_not_asked(user: User) -> None:
    """There our process id is another process's to systemd, which would move that one."""
    words = ["unshare", *([] if user.who.is_root else ["--user"]), "--pid", "--fork", "--mount-proc", *user.who.sandrun]
    done = user.who.run([*words, "-q", "--pids", "20", "--", *PRINT_GROUP], cwd=user.box, env=user.env)
    assert ".scope" not in done.stdout
    assert user.who.is_root or (done.returncode, "control group" in done.stderr) == (125, True)


def test_io_is_not_delegated_to_users(user: User) -> None:
    """An ordinary user is told what root could do; root has it."""
    done = user.run("--io", "1M", "--", "true")
    if user.who.is_root:
        assert done.returncode == 0, done.stderr
        return
    assert done.returncode == 125
    assert "the controller io is not delegated to the systemd of this user" in done.stderr
    assert "systemctl edit user@.service" in done.stderr
