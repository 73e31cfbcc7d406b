"""Faults: whichever system call of the child fails, or only says that it worked, the command does not run.

The child is stopped right after the fork and continued under strace(1), which makes one of its calls fail: the real
program, the real libraries, no stand-in. It is Python's fork, or the native program.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import resource
import signal
import struct
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest

from sandrun import launch, libc, native, steps
from sandrun.errors import SandrunError
from sandrun.plan.format import KIND_DIRECTORY, Plan
from tests.integration.launching import Ran, Watch, ended, failed
from tests.support import USER_UID, Who, a_directory, in_child, need, need_landlock, need_namespaces, need_program

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

NET_BIND = 1 << 10
ALLOW_ALL = struct.pack("HBBI", 6, 0, 0, 0x7FFF0000)
PR_SET_PTRACER, PR_SET_PTRACER_ANY = 0x59616D61, 2**64 - 1

EVERYONE = [
    # a call of the child, as strace shows it, and the step that it belongs to
    (r"setsid\(", "set up the terminal"),
    (r"close_range\(", "close file descriptors"),
    (r"rt_sigaction\(", "reset signals"),
    (r"rt_sigprocmask\(SIG_SETMASK, (\[\]|0x)", "reset signals"),
    (r"setpriority\(", "set umask and nice value"),
    (r"capset\(", "set capabilities"),
    (r"prctl\(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL", "set capabilities"),
    (r"prctl\(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET", "verify ids and capabilities"),
    (r"prctl\(PR_CAPBSET_READ", "verify ids and capabilities"),
    (r"chdir\(", "enter the working directory"),
    (r"prctl\(PR_SET_PDEATHSIG", "die with the supervisor"),
    (r"getpriority\(PRIO_PGRP", "die with the supervisor"),
    (r"prlimit64\(", "set resource limits"),
    (r"prctl\(PR_SET_NO_NEW_PRIVS", "set no_new_privs"),
    (r"landlock_restrict_self\(|syscall_0x1be\(", "enter the Landlock ruleset"),
    (r"seccomp\(", "load the seccomp filter"),
]
ROOT = [
    (r"prctl\(PR_CAPBSET_DROP", "drop the bounding set"),
    (r"setgroups\(", "set groups"),
    (r"setresgid\(", "set gid"),
    (r"prctl\(PR_SET_KEEPCAPS", "set uid"),
    (r"setresuid\(", "set uid"),
    (r"prctl\(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE", "set capabilities"),
    (r"prctl\(PR_SET_SECUREBITS", "set capabilities"),
]
ELSEWHERE = {
    "open the security label",
    "set the security label",
    "join the control group",
    "show system calls to the supervisor",
    "wait to be let go",
}
"""Steps that do something only with a security module, a control group, a listener or --hold: in test_label,
test_cgroup, test_broker, test_observe and test_hold."""
IN_NAMESPACES = [
    (r"unshare\(", "make namespaces"),
    (r"clone\(.*CLONE_PARENT", "start the init process"),
    (r"chdir\(", "start the init process"),
    (r"landlock_restrict_self\(|syscall_0x1be\(", "start the init process"),
    (r"seccomp\(", "start the init process"),
    (r"mount\(", "make the view"),
    (r"sethostname\(", "set the host name"),
    (r"ioctl\(.*SIOCSIFFLAGS", "set up the loopback interface"),
    (r"read\(\d+, (.*, 1\)|.*unfinished)", "wait for the init process"),
]
"""In a pid namespace, by the three processes that a launch makes; the second three are of the init process."""
LIES = [
    # a call that says yes and does nothing, and the step that notices
    (r"prctl\(PR_CAPBSET_DROP", "verify ids and capabilities"),
    (r"setgroups\(", "verify ids and capabilities"),
    (r"setresgid\(", "verify ids and capabilities"),
    (r"setresuid\(", "verify ids and capabilities"),
    (r"setresuid\(-1, 0, -1\)", "verify ids and capabilities"),
    (r"prctl\(PR_SET_SECUREBITS", "verify ids and capabilities"),
    (r"prctl\(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE", "verify ids and capabilities"),
    (r"prctl\(PR_SET_NO_NEW_PRIVS", "enter the Landlock ruleset"),
]


class Session(Watch):
    """A supervisor whose child makes a session of its own."""

    new_session = True


def plan_for(who: Who, marker: Path) -> Plan:
    """A plan with something to do for every step."""
    need_landlock(1)
    fields: dict[str, Any] = {
        "umask": 0o22,
        "nice": min(os.getpriority(os.PRIO_PROCESS, 0) + 1, 19),
        "cwd": b"/",
        "rlimits": ((resource.RLIMIT_CORE, 0, 0),),
        "landlock_abi": 1,
        "landlock_fs": 1,
        "path_rules": ((1, KIND_DIRECTORY, b"/"),),
        "seccomp": (ALLOW_ALL,),
    }
    if who.is_root:
        fields.update(uid=USER_UID, gid=USER_UID, set_groups=1, groups=(USER_UID,), securebits=3)
        fields.update(dict.fromkeys(("permitted", "inheritable", "ambient", "bounding"), NET_BIND))
    words = (b"/bin/sh", b"-c", b"echo ran > " + os.fsencode(marker))
    return Plan(executable=words[0], argv=words, **fields)


def plan_in_namespaces(who: Who, marker: Path) -> Plan:
    """A plan with something to do for the steps that make namespaces, and nothing else that they could be taken for."""
    need_landlock(1)
    need_namespaces(who)
    kinds = (libc.CLONE_NEWNS, libc.CLONE_NEWPID, libc.CLONE_NEWNET, libc.CLONE_NEWUTS)
    user = libc.CLONE_NEWUSER if not who.is_root else 0
    maps = dict.fromkeys(("uid_map", "gid_map"), b"%d %d 1" % (who.uid, who.uid)) if user else {}
    words = (b"/bin/sh", b"-c", b"echo ran > " + os.fsencode(marker))
    return Plan(executable=words[0], argv=words, namespaces=sum(kinds) | user, hostname=b"box", loopback=1, **maps)


@pytest.fixture(params=("python", "native"), autouse=True)
def executor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of both, as the variable says."""
    if request.param == "native":
        need(os.access(native.BINARY, os.X_OK), "the native executor is not built here: tools/build_native.py")
        monkeypatch.delenv(native.VARIABLE, raising=False)
    else:
        monkeypatch.setenv(native.VARIABLE, "python")


def traced(plan: Plan, who: Who, trace: Path, *options: str) -> Ran:
    """Launch the plan with the child, what it starts, and nothing else, under strace with these options."""
    strace = need_program("strace")
    real_fork, real_spawn = os.fork, os.posix_spawn

    def fork_under_strace() -> int:
        os.fork = real_fork
        pid = real_fork()
        if not pid:
            with contextlib.suppress(OSError):  # EINVAL where there is no Yama to ask
                libc.prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY)
            os.kill(os.getpid(), signal.SIGSTOP)
            return 0
        return attached(pid)

    def spawn_under_strace(path: str, argv: Sequence[bytes], env: Mapping[bytes, bytes], **more: Any) -> int:
        stopped = ("sh", "-c", 'kill -STOP $$; exec "$0" "$@"', path, *argv[1:])
        return attached(real_spawn("/bin/sh", stopped, env, **more))

    def attached(pid: int) -> int:
        os.posix_spawn = real_spawn  # which starts strace too: since Python 3.13 subprocess spawns what it can
        os.waitpid(pid, os.WUNTRACED)
        words = [strace, "-f", "-o", trace, *options, "-p", str(pid)]
        tracers.append(subprocess.Popen(words, stderr=said, stdin=subprocess.DEVNULL))
        while b"attached" not in os.pread(said, 4096, 0):
            assert tracers[0].poll() is None, os.pread(said, 4096, 0)
            time.sleep(0.002)
        os.kill(pid, signal.SIGCONT)
        return pid

    def no_fork() -> int:
        raise AssertionError("the native program did not serve")

    by_python = native.VARIABLE in os.environ  # of which the process that launches has those of `who`
    tracers: list[subprocess.Popen[bytes]] = []
    said = os.memfd_create("what strace says")

    def run() -> Ran:
        os.environ.pop(native.VARIABLE, None)
        if by_python:
            os.environ[native.VARIABLE] = "python"
        os.fork = fork_under_strace if by_python else no_fork
        os.posix_spawn = spawn_under_strace
        try:
            child = launch.launch(plan, {}, Session())
        except SandrunError as error:
            return failed(error)
        else:
            return Ran(ended(child))
        finally:
            for tracer in tracers:
                tracer.wait()

    try:
        return in_child(run, who)
    finally:
        os.close(said)


def calls(trace: Path) -> list[tuple[str, str]]:
    """The system calls of the child until the command is executed, each behind the process that made it."""
    lines = re.findall(r"^(\d+) +(\w+\(.*)", trace.read_text(), re.MULTILINE)
    return lines[: 1 + max(number for number, (_, call) in enumerate(lines) if call.startswith("execve("))]


def first_step(lines: list[tuple[str, str]]) -> int:
    """Where the steps begin. The native program looks at what it was given before, and leaves them to Python for an error."""
    if native.VARIABLE in os.environ:
        return 0
    return next(number for number, (_, call) in enumerate(lines) if re.match(r"clone\(|unshare\(", call))


def inject(who: Who, pattern: str, what: str, make: Callable[[Who, Path], Plan] = plan_for, nth: int = 0) -> Ran:
    """Launch with this injection at the first (or nth) call that matches; the command must not run."""
    with a_directory() as place:
        place.chmod(0o777)  # the command may leave its mark, whoever it runs as
        marker, trace = place / "ran", place / "trace"
        plan = make(who, marker)
        assert traced(plan, who, trace).status == 0
        assert marker.read_text() == "ran\n", "the control: without a fault it runs"
        marker.unlink()
        lines = calls(trace)
        found = [number for number in range(first_step(lines), len(lines)) if re.match(pattern, lines[number][1])]
        assert len(found) > nth, f"no {pattern} among\n" + "\n".join(map(" ".join, lines))
        who_calls, call = lines[found[nth]]
        name = call.partition("(")[0]
        # strace counts for each process by itself
        count = sum(one == who_calls and line.startswith(name + "(") for one, line in lines[: found[nth] + 1])
        before = sum(line.startswith(name + "(") for one, line in lines[: first_step(lines)] if one != who_calls)
        if before >= count:
            pytest.skip(
                f"the {count}. {name} of another process of the native program comes first, and would fail as well"
            )
        ran = traced(plan, who, trace, "-e", f"inject={name}:{what}:when={count}")
        assert re.search(r"\(INJECTED\)|killed by", trace.read_text())
        assert not marker.exists(), "the command ran"
        return ran


@pytest.mark.parametrize(("pattern", "step"), EVERYONE)
def test_failing_call(who: Who, pattern: str, step: str) -> None:
    """A call that fails ends the launch with 125, the step's name and the errno, and the command does not run."""
    ran = inject(who, pattern, "error=EIO")
    assert (ran.status, ran.step, ran.errno) == (125, step, errno.EIO)


@pytest.mark.parametrize(("pattern", "step"), ROOT)
def test_failing_call_of_root(root: Who, pattern: str, step: str) -> None:
    """The same for the calls that only root makes."""
    ran = inject(root, pattern, "error=EIO")
    assert (ran.status, ran.step, ran.errno) == (125, step, errno.EIO)


@pytest.mark.parametrize(("pattern", "step"), IN_NAMESPACES)
def test_failing_call_in_namespaces(who: Who, pattern: str, step: str) -> None:
    """The same for the calls that make namespaces and their init process; nothing of them is left."""
    ran = inject(who, pattern, "error=EIO", plan_in_namespaces)
    assert (ran.status, ran.step, ran.errno) == (125, step, errno.EIO)


def test_failing_clone_of_the_command(who: Who) -> None:
    """Where init is started and the command is not, init does not stay behind."""
    ran = inject(who, r"clone\(.*CLONE_PARENT", "error=EAGAIN", plan_in_namespaces, nth=1)
    assert (ran.status, ran.step, ran.errno) == (125, "start the init process", errno.EAGAIN)


@pytest.mark.parametrize("pattern", [r"chdir\(", r"unshare\(", r"sethostname\("])
def test_killed_in_namespaces(who: Who, pattern: str) -> None:
    """A signal to any of the three processes ends the launch: the init process, the maker, the command's."""
    ran = inject(who, pattern, "signal=SIGKILL", plan_in_namespaces)
    assert (ran.status, ran.error) == (125, "StepError")


def test_failing_execve(who: Who) -> None:
    """A failing execve is 126."""
    ran = inject(who, r"execve\(", "error=EIO")
    assert (ran.status, ran.error) == (126, "CommandError")


@pytest.mark.parametrize(("pattern", "step"), LIES)
def test_lying_call(root: Who, pattern: str, step: str) -> None:
    """A call that says yes and does nothing is noticed before the command runs."""
    ran = inject(root, pattern, "retval=0")
    assert (ran.status, ran.step) == (125, step)


def test_lying_no_new_privs(who: Who) -> None:
    """The one of these that an ordinary user's launch has."""
    pattern, step = LIES[-1]
    ran = inject(who, pattern, "retval=0")
    assert (ran.status, ran.step) == (125, step)


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGSEGV"])
def test_killed_on_the_way(who: Who, name: str) -> None:
    """A child that a signal ends before execve is no command that died of it."""
    ran = inject(who, r"chdir\(", f"signal={name}")
    assert (ran.status, ran.error) == (125, "StepError")
    assert ran.message == f"cannot execute /bin/sh: the child ended before it, by {name}"


def test_every_step_is_covered() -> None:
    """Each step has a call that was made to fail here."""
    covered = {step for _, step in (*EVERYONE, *ROOT, *IN_NAMESPACES)} | ELSEWHERE
    assert covered == {name for name, _ in steps.CHILD_STEPS[:-1]}
