"""The observer sees what a command does, refuses what the plan refuses, and is in nobody's way."""

from __future__ import annotations

import errno
import json
import os
import platform
import signal
import stat
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from sandrun import launch, libc, supervise
from sandrun.errors import SandrunError, StepError
from sandrun.observe.events import ABSENT, DIRECTORY, FILE, Record
from sandrun.observe.observer import EVERYTHING_NAMED, Job, observe
from sandrun.observe.program import EVERY
from sandrun.plan.format import Plan
from sandrun.policy import syscalls
from sandrun.primitives.landlock import FS
from sandrun.primitives.seccomp import ALLOW, KILL_PROCESS, errno_action
from sandrun.primitives.seccomp_compile import compile_filter
from sandrun.watch import begin
from tests.support import descendants, in_child, need_namespaces, need_program, sandrun

if TYPE_CHECKING:
    from sandrun.observe.events import Event, Place
    from tests.support import Who

ARCH = platform.machine()
PATHS = "PATH=/usr/bin:/bin; "


class Seen(NamedTuple):
    status: int
    record: Record
    wall: float

    def events(self, *names: str) -> list[Event]:
        return [one.first for one in self.record.seen if one.first.syscall in names]

    def places(self, path: str) -> list[Place]:
        return [place for one in self.record.seen for place in one.first.places if place.path == path]


def plan_for(*argv: str, **fields: Any) -> Plan:
    return Plan(executable=argv[0].encode(), argv=tuple(word.encode() for word in argv), **fields)


def observed(who: Who, *argv: str, job: Job = EVERYTHING_NAMED, **fields: Any) -> Seen:
    """Run a command that nothing restricts but these fields of its plan, and tell what was seen."""

    def attempt() -> Seen:
        libc.prctl(libc.PR_SET_DUMPABLE, 1)  # as after execve; the test's child has only changed its ids
        plan, observer = observe(plan_for(*argv, **fields), ARCH, job)
        watch = begin(plan, observer=observer)
        child = launch.launch(plan, {}, watch)
        outcome = supervise.supervise(child, watch, plan)
        assert not outcome.survivors
        status = -outcome.signal if outcome.signal else outcome.status
        return Seen(status, observer.record(), outcome.wall)

    return in_child(attempt, who)


def shell(who: Who, code: str, **more: Any) -> Seen:
    return observed(who, "/bin/sh", "-c", PATHS + code, **more)


def refusing(*refused: tuple[str, int]) -> tuple[bytes, ...]:
    """Filters that answer these calls so, and allow all else."""
    numbers = dict.fromkeys(syscalls.numbers(ARCH).values(), ALLOW)
    for name, action in refused:
        number = syscalls.number(name, ARCH)
        if number is not None:
            numbers[number] = action
    return compile_filter(ARCH, numbers, ())


def rights(*names: str) -> int:
    return sum(FS[name] for name in names)


def test_files(who: Who) -> None:
    """What is read, made, changed, renamed and removed is named, with the access rights that it takes."""
    home = str(who.home)
    (who.home / "old").write_text("text")
    (who.home / "link").symlink_to("old")
    seen = shell(
        who, f"cd {home}; cat link; echo x >new; echo y >>new; mkdir made; mv new made/moved; rm made/moved; rmdir made"
    )
    assert seen.status == 0
    assert not seen.record.gap
    (read,) = {(one.real, one.act, one.rights, one.kind) for one in seen.places(f"{home}/link") if one.act == "read"}
    assert read == (f"{home}/old", "read", rights("read_file"), FILE)
    made = [(one.act, one.rights, one.kind) for one in seen.places(f"{home}/new")]
    assert ("create", rights("make_reg", "write_file", "truncate"), ABSENT) in made
    assert ("write", rights("write_file"), FILE) in made
    assert ("remove", rights("remove_file", "refer"), FILE) in made
    assert ("create", rights("make_dir"), ABSENT) in [
        (one.act, one.rights, one.kind) for one in seen.places(f"{home}/made")
    ]
    moved = [(one.act, one.rights) for one in seen.places(f"{home}/made/moved")]
    assert ("create", rights("make_reg", "refer")) in moved
    assert ("remove", rights("remove_file")) in moved
    assert ("remove", rights("remove_dir")) in [(one.act, one.rights) for one in seen.places(f"{home}/made")]


def test_relative_to_descriptors(who: Who) -> None:
    """A path is joined to the directory that the call names, also after chdir(2); programs and callers are told."""
    (who.home / "sub").mkdir()
    (who.home / "sub" / "file").write_text("")
    seen = shell(who, f"cd {who.home}/sub && cat file ../sub/./file")
    assert {one.real for one in seen.places(f"{who.home}/sub/file")} == {f"{who.home}/sub/file"}
    assert {one.real for one in seen.places(f"{who.home}/sub/../sub/./file")} == {f"{who.home}/sub/file"}
    (opened,) = [
        one for one in seen.events("openat", "open") if one.places and one.places[0].path.endswith("/sub/file")
    ]
    assert opened.program.endswith("/cat")
    assert opened.pid == opened.tid > 1


def test_programs(who: Who) -> None:
    """What is executed, and what is not there to be executed."""
    seen = shell(who, "cat /dev/null; /nonexistent/program; true")
    executed = {one.places[0].path: one.places[0] for one in seen.events("execve")}
    assert executed["/nonexistent/program"].kind == ABSENT
    (cat,) = [place for path, place in executed.items() if path.endswith("/cat")]
    assert (cat.act, cat.rights, cat.kind) == ("execute", rights("execute", "read_file"), FILE)


def test_addresses(who: Who) -> None:
    """Whom it connects and binds to, by which protocol, and sockets of files with their places."""
    python = who.sandrun[0]
    code = """
import socket
tcp, udp, unix = socket.socket(), socket.socket(type=socket.SOCK_DGRAM), socket.socket(socket.AF_UNIX)
tcp.bind(("127.0.0.1", 0)); unix.bind("here"); udp.sendto(b"x", ("127.0.0.2", 9))
six = socket.socket(socket.AF_INET6)
six.connect_ex(("::1", 1)); unix.connect_ex("there"); unix.connect_ex("\\0abstract")
"""
    seen = observed(who, python, "-I", "-S", "-c", code)
    assert seen.status == 0
    found = {one.address for one in seen.events("bind", "connect", "sendto", "sendmsg") if one.address}
    assert ("bind", "tcp", "127.0.0.1", 0) in found
    assert ("send", "udp", "127.0.0.2", 9) in found
    assert ("connect", "tcp", "::1", 1) in found
    assert ("connect", "unix", "abstract:abstract", 0) in found
    (bound,) = seen.places(f"{who.home}/here")
    assert (bound.act, bound.rights) == ("create", FS["make_sock"])
    assert [one.act for one in seen.places(f"{who.home}/there")] == ["connect"]


def test_refused_calls(who: Who) -> None:
    """What the plan's filters refuse is refused with the same errno, and seen though nobody asked for it."""
    filters = refusing(("mkdir", errno_action(errno.EXDEV)), ("mkdirat", errno_action(errno.EXDEV)))
    plain = shell(who, f"mkdir {who.home}/new", seccomp=filters, job=Job(calls=frozenset({"openat"})))
    assert plain.status == 1
    (event,) = plain.events("mkdir", "mkdirat")
    assert event.refused == errno.EXDEV
    assert event.places[0].path == f"{who.home}/new"
    assert not (who.home / "new").exists()


def test_refused_calls_of_the_launch(who: Who) -> None:
    """A plan that refuses all that the launch itself does to show calls is kept, and shown, all the same."""
    refused = errno_action(errno.EPERM)
    filters = refusing(("sendmsg", refused), ("seccomp", refused), ("mkdir", refused), ("mkdirat", refused))
    seen = shell(who, f"mkdir {who.home}/new", seccomp=filters)
    assert seen.status == 1
    assert [one.refused for one in seen.events("mkdir", "mkdirat")] == [errno.EPERM]


def test_killed(who: Who) -> None:
    """What the plan kills for stays killed."""
    seen = shell(who, "exec mkdir new", seccomp=refusing(("mkdir", KILL_PROCESS), ("mkdirat", KILL_PROCESS)))
    assert seen.status == -signal.SIGSYS


def test_every_call(who: Who) -> None:
    """All calls of all descendants are counted, with the first caller."""
    seen = shell(who, "cat /dev/null & cat /dev/null & wait; cat /dev/null", job=Job(EVERY, reads=False))
    assert seen.status == 0
    assert seen.record.calls["execve"] == 3
    assert seen.record.calls["exit_group"] == 4
    assert seen.record.first["exit_group"].program.endswith(("/cat", "/busybox"))
    assert not seen.record.seen


def test_signals_lose_nothing(who: Who) -> None:
    """A timer that interrupts the command all the time neither stops it nor makes its calls fail, if it restarts them."""
    code = (
        "import os, signal\nsignal.signal(signal.SIGALRM, lambda *_: None)\nsignal.siginterrupt(signal.SIGALRM, False)\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)\n"
        "for number in range(500): os.close(os.open('/dev/null', os.O_RDONLY))\n"
        "signal.setitimer(signal.ITIMER_REAL, 0)"
    )
    seen = observed(who, who.sandrun[0], "-I", "-S", "-c", code, job=Job(EVERY))
    assert seen.status == 0
    opened = [one for one in seen.record.seen if any(place.path == "/dev/null" for place in one.first.places)]
    assert sum(one.times for one in opened) >= 500


def test_threads_and_forks(who: Who) -> None:
    """Many threads and processes at once: all go on, and each is seen."""
    code = (
        "import os, threading\n"
        "def look():\n  for number in range(50): os.stat(f'/nonexistent/{number}') if os.path.exists('/x') else None\n"
        "threads = [threading.Thread(target=look) for _ in range(20)]\n"
        "[one.start() for one in threads]\n[one.join() for one in threads]\n"
        "for _ in range(20):\n  if not os.fork(): look(); os._exit(0)\n"
        "for _ in range(20): os.wait()"
    )
    seen = observed(who, who.sandrun[0], "-I", "-S", "-c", code)
    assert seen.status == 0
    looked = [one for one in seen.record.seen if any(place.path == "/x" for place in one.first.places)]
    assert sum(one.times for one in looked) == 2000


def test_what_cannot_be_read(who: Who) -> None:
    """Pointers to nothing, unterminated paths and processes that may not be looked into: the calls go on as ever."""
    code = (
        "import ctypes, errno, os\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        "def fails(path):\n  assert libc.open(path, 0) == -1\n  return ctypes.get_errno()\n"
        "assert fails(ctypes.c_void_p(8)) == errno.EFAULT\n"
        "assert fails(ctypes.c_void_p(2**64 - 8)) == errno.EFAULT\n"
        "assert fails(b'x' * 5000) == errno.ENAMETOOLONG\n"
        "assert fails(b'') == errno.ENOENT\n"
        "libc.prctl(4, 0, 0, 0, 0)\nos.close(os.open('/dev/null', os.O_RDONLY))"
    )
    seen = observed(who, who.sandrun[0], "-I", "-S", "-c", code)
    assert seen.status == 0
    if who.uid:
        assert "cannot look into process" in seen.record.gap


def test_in_namespaces(who: Who) -> None:
    """A command in namespaces of its own is seen from outside, by its own paths."""
    need_namespaces(who)
    report = who.home / "report.json"
    options = ("-p", "none", "-x", "@all", "--isolate", "true", "--report", report)
    done = sandrun(
        "trace", *options, "--", "/bin/sh", "-c", PATHS + "cat /dev/null; readlink /proc/self", who=who, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 100
    traced = json.loads(report.read_text())["trace"]
    (readlink,) = [row for row in traced["syscalls"] if row["syscall"] in ("readlink", "readlinkat")]
    assert readlink["first"]["program"].endswith("/readlink")
    assert traced["gap"] is None


def test_within_another(who: Who) -> None:
    """A second observer of the same command is refused, and says why."""

    def attempt() -> tuple[str, str]:
        libc.prctl(libc.PR_SET_DUMPABLE, 1)
        libc.prctl(libc.PR_SET_NO_NEW_PRIVS, 1)
        allow = libc.SockFprog((6).to_bytes(2, sys.byteorder) + bytes(2) + ALLOW.to_bytes(4, sys.byteorder))
        libc.seccomp(libc.SECCOMP_SET_MODE_FILTER, libc.SECCOMP_FILTER_FLAG_NEW_LISTENER, allow)
        plan, observer = observe(plan_for("/bin/true"), ARCH)
        watch = begin(plan, observer=observer)
        before = sorted(os.listdir("/proc/self/fd"))
        try:
            launch.launch(plan, {}, watch)
        except StepError as error:
            observer.end()
            assert len(os.listdir("/proc/self/fd")) < len(before)
            return error.message, error.hint or ""
        return "", ""

    message, hint = in_child(attempt, who)
    assert message == "cannot show system calls to the supervisor: Device or resource busy (EBUSY)"
    assert "another process watches" in hint


def test_beside_a_broker(who: Who) -> None:
    """A plan whose connections the supervisor makes cannot be observed as well: refused before anything starts."""

    def attempt() -> str:
        try:
            observe(plan_for("/bin/true", broker_filter=b"12345678"), ARCH)
        except SandrunError as error:
            return error.message
        return ""

    assert "only one can have its calls" in in_child(attempt, who)


def test_a_fixed_layout(who: Who) -> None:
    """Where addresses are not random, calls of the command could be taken for the launch's own: refused."""
    need_program("setarch")
    done = who.run(["setarch", "-R", *who.sandrun, "trace", "--", "/bin/true"], timeout=120)
    assert done.returncode == 125
    assert "not random" in done.stderr


def test_the_supervisor_dies(who: Who) -> None:
    """A killed supervisor leaves no command that waits for an answer."""
    need_program("sleep")
    command = [*who.sandrun, "trace", "--", "/bin/sh", "-c", PATHS + "while :; do sleep 0.01; done"]
    running = who.popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120  # an emulated machine takes half a minute to start it
    while "sleep" not in descendants(running.pid).values() and time.monotonic() < deadline:
        time.sleep(0.05)
    mine = descendants(running.pid)
    running.kill()
    running.wait()
    assert mine
    deadline = time.monotonic() + 60
    while any(os.path.exists(f"/proc/{pid}") and not _is_zombie(pid) for pid in mine) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in mine if os.path.exists(f"/proc/{pid}") and not _is_zombie(pid)]


def _is_zombie(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(") ")[2][:1] in "ZX"
    except OSError:
        return True


def test_kinds(who: Who) -> None:
    """Directories, devices and links that lead nowhere are told apart."""
    (who.home / "nowhere").symlink_to("missing/file")
    (who.home / "dangling").symlink_to("made")
    seen = shell(who, f"cd {who.home}; ls .; cat /dev/null nowhere; echo x >dangling")
    assert DIRECTORY in {one.kind for one in seen.places(str(who.home)) + seen.places(f"{who.home}/.")}
    assert {one.kind for one in seen.places("/dev/null")} == {"other"}
    assert {one.kind for one in seen.places(f"{who.home}/nowhere")} == {ABSENT}
    created = [one for one in seen.places(f"{who.home}/dangling") if one.act == "create"]
    assert [one.real for one in created] == [f"{who.home}/made"]
    assert stat.S_ISREG((who.home / "made").stat().st_mode)
