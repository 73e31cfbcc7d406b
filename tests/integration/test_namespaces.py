"""Namespaces: the command is alone with its own processes, and from outside all is as it is without them."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sandrun import libc
from sandrun.primitives import namespaces
from tests import bpf_sim
from tests.integration.supervised import gone, soon_enough, wait_until
from tests.support import (
    Who,
    descendants,
    in_child,
    need_landlock,
    need_namespaces,
    need_program,
    need_userns,
    reap_orphans,
    sandrun,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

EVERYTHING = ("-p", "none", "--execute", "@all", "--write", "@all")
PLAIN = ("-p", "none", "--execute", "@all")
OWN = (*EVERYTHING, "--isolate", "true", "--proc", "own")
LIBC = ctypes.CDLL(None, use_errno=True)
IPC_CREAT, IPC_RMID = 0o1000, 0


@pytest.fixture(autouse=True)
def _there_are_namespaces(request: pytest.FixtureRequest) -> None:
    if "who" in request.fixturenames:
        need_namespaces(request.getfixturevalue("who"))


def inside(who: Who, code: str, *options: str, own: Sequence[str] = OWN) -> Any:
    """Run Python code as an isolated command; the value is what it prints, as JSON."""
    done = sandrun("-q", *own, *options, "--", "/usr/bin/python3", "-I", "-S", "-c", code, who=who)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# --- what the command sees -------------------------------------------------------------------------------------------


def test_only_its_own_processes(who: Who) -> None:
    """The command is the second process of its namespace, and /proc shows nothing but it and init."""
    code = "import os, json; print(json.dumps([os.getpid(), os.getppid(), [n for n in os.listdir('/proc') if n.isdigit()]]))"
    assert inside(who, code) == [2, 0, ["1", "2"]]


def test_ids_and_capabilities(who: Who) -> None:
    """A user namespace gives the command all capabilities, and none of them is left when it runs; the ids are its own."""
    code = "import json; print(json.dumps(dict(l.split(':', 1) for l in open('/proc/self/status'))))"
    found = {name: value.strip() for name, value in inside(who, code).items()}
    assert {found[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert found["Uid"].split() == [str(who.uid)] * 4
    assert found["Gid"].split() == [str(who.gid)] * 4
    assert found["NoNewPrivs"] == "1"


def test_what_root_keeps(root: Who) -> None:
    """Capabilities that the profile names are kept, and the bounding set holds no others."""
    code = "import json; print(json.dumps([l.split()[1] for l in open('/proc/self/status') if l.startswith('Cap')]))"
    kept = f"{1 << 10:016x}"
    assert inside(root, code, "--capability", "CAP_NET_BIND_SERVICE") == ["0" * 16, kept, kept, kept, "0" * 16]


def test_ipc_of_its_own(who: Who) -> None:
    """Shared memory and message queues of outside are not there inside, nor the other way round."""
    key = 0x40000000 + 2 * os.getpid()  # this one and the next are of no other worker
    made = LIBC.shmget(key, 4096, IPC_CREAT | 0o666)
    assert made >= 0
    try:
        code = (
            "import ctypes, json; l = ctypes.CDLL(None, use_errno=True);"
            f"print(json.dumps([l.shmget({key}, 0, 0), l.shmget({key + 1}, 4096, 0o1666) >= 0]))"
        )
        assert inside(who, code) == [-1, True]
        assert LIBC.shmget(key + 1, 0, 0) == -1
        assert inside(who, code, own=EVERYTHING)[0] == made, "the control: without isolation it is there"
    finally:
        LIBC.shmctl(made, IPC_RMID, None)
        LIBC.shmctl(LIBC.shmget(key + 1, 0, 0), IPC_RMID, None)


def test_hostname(who: Who) -> None:
    """A host name of its own, which the host does not get."""
    before = os.uname().nodename
    code = "import json, os; print(json.dumps(os.uname().nodename))"
    assert inside(who, code, "--hostname", "a-box") == "a-box"
    assert os.uname().nodename == before


LOOPBACK = """
import json, socket, sys
found = []
for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
    server = socket.create_server((address, 0), family=family)
    socket.create_connection(server.getsockname()[:2]).close()
    ours = socket.socket(family, socket.SOCK_DGRAM)
    ours.bind((address, 0))
    ours.sendto(b"x", ours.getsockname())
    found.append(ours.recv(1).decode())
for target in ((sys.argv[1], int(sys.argv[2])), ("192.0.2.1", 9)):
    try:
        socket.create_connection(target, 3)
        found.append("connected")
    except OSError as error:
        found.append(error.errno)
try:
    socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)
    found.append("netlink")
except OSError as error:
    found.append(error.errno)
print(json.dumps(found))
"""


def test_loopback(who: Who) -> None:
    """The command's own servers can be reached, the host's and the world cannot, and other families stay closed."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        code = LOOPBACK.replace("sys.argv[1]", "'127.0.0.1'").replace("sys.argv[2]", str(server.getsockname()[1]))
        assert inside(who, code, "--loopback") == ["x", "x", 111, 101, 97]


def test_network_namespace_as_a_second_wall(who: Who) -> None:
    """A command to which nothing of the network is granted has a network namespace; one with grants has the host's."""
    code = "import json, os; print(json.dumps(os.readlink('/proc/self/ns/net')))"
    outside = os.readlink("/proc/self/ns/net")
    assert inside(who, code) != outside
    assert inside(who, code, "--connect", "*") == outside


@pytest.mark.parametrize("name", ["cgroup", "ipc", "mount", "net", "pid", "time", "user", "uts"])
def test_namespaces_by_name(who: Who, name: str) -> None:
    """`process.namespaces` makes the kind that it names."""
    link = {"mount": "mnt"}.get(name, name)
    code = f"import json, os; print(json.dumps(os.readlink('/proc/self/ns/{link}')))"
    outside = os.readlink(f"/proc/self/ns/{link}")
    assert inside(who, code, own=PLAIN) == outside
    assert inside(who, code, "--namespace", name, own=PLAIN) != outside


# --- the init process ------------------------------------------------------------------------------------------------

REACH = """
import ctypes, json, os, resource, signal, time
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *words):
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(number), *[ctypes.c_ulong(word & 2**64 - 1) for word in words])
    if result < 0:
        raise OSError(ctypes.get_errno(), "")
arm = os.uname().machine == "aarch64"
buffer = ctypes.create_string_buffer(64)
vector = (ctypes.c_ulong * 2)(ctypes.addressof(buffer), 8)
attempts = {
    "environ": lambda: open("/proc/1/environ").read(),
    "mem": lambda: open("/proc/1/mem", "rb"),
    "maps": lambda: open("/proc/1/maps").read(1),
    "fd": lambda: os.listdir("/proc/1/fd")[0],
    "cwd": lambda: os.readlink("/proc/1/cwd"),
    "root": lambda: os.listdir("/proc/1/root/"),
    "ptrace": lambda: call(117 if arm else 101, 0x4206, 1, 0, 0),
    "getfd": lambda: call(438, os.pidfd_open(1), 0, 0),
    "vm_readv": lambda: call(270 if arm else 310, 1, ctypes.addressof(vector), 1, ctypes.addressof(vector), 1, 0),
    "prlimit": lambda: resource.prlimit(1, resource.RLIMIT_CPU, (1, 1)),
}
found = {}
for name, attempt in attempts.items():
    try:
        attempt()
        found[name] = "reached"
    except (PermissionError, IndexError):
        pass
    except OSError as error:
        found[name] = error.strerror
for number in range(1, 65):
    for target in (1, -1):
        if number != 9 or target == 1:
            signal.signal(number, signal.SIG_IGN) if number not in (9, 19, 32, 33) else None
    if number != 19:
        try:
            os.kill(1, number)
        except PermissionError:
            pass
time.sleep(0.1)
words = open("/proc/1/cmdline", "rb").read().strip(b"\\0").decode()
print(json.dumps([found, os.getpid(), words]))
"""


def test_init_is_out_of_reach(who: Who) -> None:
    """Nothing of the init process can be read, traced, taken or limited, no signal ends it, and it tells no command line."""
    assert inside(who, REACH) == [{}, 2, "init"]


def test_init_is_out_of_reach_of_ptrace_capability(root: Who) -> None:
    """Not even CAP_SYS_PTRACE reaches it: its Landlock domain is none below the command's (ptrace(2), landlock(7))."""
    need_landlock(1)
    found, _, _ = inside(root, REACH, "--capability", "CAP_SYS_PTRACE", "--capability", "CAP_DAC_OVERRIDE")
    assert not {name for name, said in found.items() if said == "reached" and name not in ("cwd", "root")}


def test_init_reaps(who: Who) -> None:
    """Orphans are reaped by init: no zombie is left of them."""
    code = """
import json, os, time
for _ in range(40):
    if not os.fork():
        if os.fork():
            os._exit(0)
        os._exit(0)
    os.wait()
end = time.monotonic() + 50
while len(found := [n for n in os.listdir('/proc') if n.isdigit()]) > 2 and time.monotonic() < end:
    time.sleep(0.05)
print(json.dumps(found))
"""
    assert inside(who, code) == ["1", "2"]


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_filter_of_init(machine: str) -> None:
    """It lets the interpreter sleep; what could do anything else, or comes from another architecture, is killed."""
    program = namespaces.asleep(machine)
    arch = {"x86_64": bpf_sim.X86_64, "aarch64": bpf_sim.AARCH64}[machine]
    sleep, openat, execve = {"x86_64": (271, 257, 59), "aarch64": (73, 56, 221)}[machine]
    assert bpf_sim.run(program, sleep, arch=arch) == bpf_sim.ALLOW
    others = {bpf_sim.run(program, number, arch=arch) for number in (openat, execve, sleep | bpf_sim.X32_BIT)}
    assert others == {bpf_sim.KILL_PROCESS}
    assert bpf_sim.run(program, sleep, arch=bpf_sim.I386) == bpf_sim.KILL_PROCESS


# --- as seen from outside --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [0, 1, 2, 77, 123, 124, 125, 126, 127, 128, 137, 254, 255])
def test_exit_status(who: Who, status: int) -> None:
    """The command's status is the command's."""
    assert sandrun("-q", *OWN, "--", "sh", "-c", f"exit {status}", who=who).returncode == status


@pytest.mark.parametrize("name", ["TERM", "KILL", "SEGV", "INT", "USR1", "ABRT"])
def test_end_by_signal(who: Who, name: str) -> None:
    """A command that a signal ends is 128 and the signal, though it is next to pid 1."""
    done = sandrun("-q", *OWN, "--", "sh", "-c", f"kill -{name} $$", who=who)
    assert done.returncode == 128 + signal.Signals[f"SIG{name}"]


DAEMON = (
    "setsid sh -c 'setsid sleep 61 & setsid sleep 62 & sleep 63' & (setsid sleep 64 &) ;"
    " while set -- /proc/[0-9]*; [ $# -lt 7 ]; do sleep 0.05; done"
)
"""Five processes, which are there beside init and this one when it goes on."""


def test_daemons_are_gone(who: Who) -> None:
    """What left the command's session and lost its parents dies with the command, and is counted."""
    report = who.home / "report.json"
    done = sandrun("-q", *OWN, "--report", report, "--", "sh", "-c", DAEMON, who=who)
    assert done.returncode == 0
    outcome = json.loads(report.read_text())["outcome"]
    assert (outcome["killed"], outcome["survivors"]) == (5, [])


def test_supervisor_killed(who: Who) -> None:
    """After SIGKILL of the supervisor nothing of the namespace lives on: no grace, no search, the kernel does it."""
    with who.popen([*who.sandrun, "-q", *OWN, "--", "sh", "-c", DAEMON + "; sleep 65"]) as process:
        wait_until(lambda: len(descendants(process.pid)) >= 7)
        below = descendants(process.pid)
        process.kill()
        process.wait()
        # They are dead, but an init process ends only when its sibling, a zombie of ours now, is reaped.
        wait_until(lambda: reap_orphans() or all(map(gone, below)))


def test_timeout_reaches_all(who: Who) -> None:
    """At the timeout every process gets SIGTERM; what ignores it is killed after the grace."""
    code = (
        "(trap 'echo asked >asked; exit' TERM; touch listens; while :; do sleep 0.05; done) &"
        " setsid sh -c 'trap : TERM; touch deaf; sleep 366; sleep 367' & wait; sleep 368"
    )

    def attempt(timeout: str) -> bool:
        words = ("--timeout", timeout, "--grace", timeout, "--", "sh", "-c", code)
        assert sandrun("-q", *OWN, *words, who=who, timeout=90).returncode == 124
        return all((who.home / name).exists() for name in ("listens", "deaf", "asked"))

    soon_enough(attempt)
    assert (who.home / "asked").read_text() == "asked\n"


def test_grace_ends_early(who: Who) -> None:
    """When everything ended by itself after SIGTERM, the rest of the grace is not waited for."""
    words = ("--timeout", "0.3s", "--grace", "300s", "--", "sh", "-c", "setsid sleep 366 & sleep 367")
    assert sandrun("-q", *OWN, *words, who=who, timeout=90).returncode == 124


def mounts() -> set[str]:
    return set(Path("/proc/self/mountinfo").read_text().splitlines())


def test_nothing_is_seen_outside(who: Who) -> None:
    """Mounts of the command's namespace are in no other."""
    before = mounts()
    assert sandrun("-q", *OWN, "--", "true", who=who).returncode == 0
    wait_until(lambda: not mounts() - before)  # what comes and goes is somebody else's


# --- where they cannot be had ----------------------------------------------------------------------------------------

WITHOUT = 'echo 0 >/proc/sys/user/max_user_namespaces && exec setpriv --bounding-set -all --ambient-caps -all --inh-caps -all "$@"'


def without_user_namespaces(who: Who, *words: str) -> subprocess.CompletedProcess[str]:
    """Run sandrun as an ordinary user in a user namespace in which no other can be made."""
    need_userns()
    prefix = [need_program("unshare"), "--user", "--map-current-user", "--keep-caps", "sh", "-c", WITHOUT, "sh"]
    need_program("setpriv")
    return who.run([*prefix, *who.sandrun, *words])


def test_no_user_namespaces(who: Who) -> None:
    """Without user namespaces an ordinary user gets 125 and the remedy, or what Landlock keeps and a record of the loss."""
    need_landlock(6)
    if who.is_root:
        pytest.skip("root of an outer user namespace is another case")
    done = without_user_namespaces(who, *OWN, "--proc", "host", "--", "true")
    assert done.returncode == 125
    assert "user.max_user_namespaces is 0: sysctl -w user.max_user_namespaces=15000" in done.stderr
    report = who.home / "report.json"
    done = without_user_namespaces(
        who, *EVERYTHING, "--isolate", "true", "--optional", "process.isolate", "--report", str(report), "--", "true"
    )
    assert done.returncode == 0, done.stderr
    record = {one["key"]: one for one in json.loads(report.read_text())["protections"]}["process.isolate"]
    assert record["state"] == "partial"
    assert record["mechanisms"] == ["landlock", "seccomp"]
    assert "user.max_user_namespaces is 0" in record["lost"][0]


def test_inside_sandrun(who: Who) -> None:
    """In the default profile, which refuses namespaces, an isolated launch says so; the optional one is `default` again."""
    need_landlock(6)
    words = [*who.sandrun[1:], "-q", "-p", "none", "--execute", "@all", "--isolate", "true", "--", "true"]
    outer = [*who.sandrun, "-q", "-p", "offline", "--", who.sandrun[0]]
    done = who.run([*outer, *words], cwd="/usr")
    assert done.returncode == 125
    assert "an outer seccomp filter is in force" in done.stderr
    nested = who.run([*outer, *who.sandrun[1:], "--", "true"], cwd="/usr")
    assert nested.returncode == 0, nested.stderr
    assert "process.isolate" in nested.stderr


def test_inside_bwrap(who: Who) -> None:
    """In a container with namespaces of its own another one can be made."""
    bwrap = need_program("bwrap")
    words = [bwrap, "--unshare-user", "--dev-bind", "/", "/", "--unshare-pid", "--proc", "/proc"]
    done = who.run([*words, *who.sandrun, "-q", *OWN, "--", "sh", "-c", "echo $$"])
    assert (done.returncode, done.stdout) == (0, "2\n"), done.stderr


def test_in_an_outer_landlock_domain(who: Who) -> None:
    """A Landlock domain forbids to mount: that is found by mounting, and said."""
    need_landlock(6)

    def run() -> tuple[int, str]:
        ruleset = libc.landlock_create_ruleset((1 << 6).to_bytes(8, "little"))
        libc.prctl(libc.PR_SET_NO_NEW_PRIVS, 1)
        libc.landlock_restrict_self(ruleset)
        done = subprocess.run([*who.sandrun, *OWN, "--", "true"], capture_output=True, text=True, check=False)
        return done.returncode, done.stderr

    status, said = in_child(run, who)
    assert status == 125
    assert "an outer sandbox" in said


def test_attempt_tells_what_failed(who: Who) -> None:
    """The trial names the step, its errno or the signal, and leaves this process as it was."""
    kinds = namespaces.ALL if not who.is_root else namespaces.ALL & ~libc.CLONE_NEWUSER

    def run() -> tuple[object, bool]:
        before = {name: os.readlink(f"/proc/self/ns/{name}") for name in os.listdir("/proc/self/ns")}
        found = namespaces.attempt(kinds)
        return found, before == {name: os.readlink(f"/proc/self/ns/{name}") for name in before}

    assert in_child(run, who) == (("", 0, 0), True)
    if not who.is_root:
        assert in_child(lambda: namespaces.attempt(libc.CLONE_NEWNET), who) == ("make a network namespace", 1, 0)
        assert in_child(lambda: namespaces.attempt(libc.CLONE_NEWIPC), who) == ("make an ipc namespace", 1, 0)
