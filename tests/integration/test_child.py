"""The child of a supervisor in Python, which the native program is: it does what Python's fork does, in the same words."""

from __future__ import annotations

import os
import struct
import threading
from typing import TYPE_CHECKING, Any

import pytest

from sandrun import launch, libc, native, steps
from sandrun.errors import SandrunError
from sandrun.native import child
from sandrun.plan.format import KIND_DIRECTORY, KIND_FILE, Plan
from sandrun.primitives.view import VIEW_BIND, VIEW_TREE
from tests.integration.launching import STATUS, Ran, Watch, launched, proc_status
from tests.support import Who, in_child, need, need_landlock, need_namespaces

if TYPE_CHECKING:
    from collections.abc import Callable

KILL_EXECVE = struct.pack("=HBBI", 0x20, 0, 0, 0) + b"".join(
    struct.pack("=HBBI", *line)
    for line in (
        (0x15, 0, 1, {"x86_64": 59, "aarch64": 221}[libc.MACHINE]),
        (6, 0, 0, 0x80000000),
        (6, 0, 0, 0x7FFF0000),
    )
)
"""A filter that lets everything through but execve(2), which kills."""


@pytest.fixture(autouse=True)
def _need_native(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the native program there is nothing here to be shown."""
    need(os.access(native.BINARY, os.X_OK), "the native executor is not built here: tools/build_native.py")
    monkeypatch.delenv(native.VARIABLE, raising=False)


def natively() -> None:
    """From here on launches are the native program's, whoever said otherwise."""
    os.environ.pop(native.VARIABLE, None)


def no_fork() -> None:
    """From here on this process cannot fork."""
    natively()

    def refuse() -> int:
        raise AssertionError("Python forked")

    os.fork = refuse


def by_python() -> None:
    """From here on launches are Python's, and start no other program."""

    def refuse(*_: object, **__: object) -> int:
        raise AssertionError("a program was started")

    os.environ[native.VARIABLE] = "python"
    os.posix_spawn = refuse


def both(who: Who, *argv: str, **fields: Any) -> Ran:
    """What came of a launch, which has to be the same with both executors."""
    ran = [launched(who, *argv, before=before, **fields) for before in (no_fork, by_python)]
    assert ran[0] == ran[1]
    return ran[0]


def test_python_forks_nothing(who: Who) -> None:
    """A launch goes without a fork of this process, also in namespaces."""
    need_namespaces(who)
    kinds = libc.CLONE_NEWNS | libc.CLONE_NEWPID | (0 if who.is_root else libc.CLONE_NEWUSER)
    maps = {} if who.is_root else dict.fromkeys(("uid_map", "gid_map"), b"%d %d 1" % (who.uid, who.uid))
    words = ("/bin/sh", "-c", "echo $$")
    assert launched(who, *words, before=no_fork).status == 0
    ran = launched(who, *words, before=no_fork, namespaces=kinds, **maps)
    assert (ran.status, ran.out) == (0, b"2\n")


def test_the_same_state(who: Who) -> None:
    """What the command sees of itself does not tell who launched it."""

    def seen(before: Callable[[], None]) -> dict[str, str]:
        found = proc_status(launched(who, *STATUS, before=before, umask=0o27, nice=5).out)
        return {
            name: value
            for name, value in found.items()
            if name.startswith(("Cap", "SigI", "SigB", "SigC", "Uid", "Gid", "Seccomp", "NoNew", "Umask", "Groups"))
        }

    assert seen(no_fork) == seen(by_python)


FAILURES: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "not found": (("/no/such",), {}),
    "a directory": (("/usr",), {}),
    "no program": (("/etc/passwd",), {}),
    "a working directory that is gone": (("/bin/true",), {"cwd": b"/no/such"}),
    "killed for its execve": (("/bin/true",), {"seccomp": (KILL_EXECVE,)}),
    "a filter that the kernel refuses": (("/bin/true",), {"seccomp": (b"\xff" * 8,)}),
}


@pytest.mark.parametrize("name", FAILURES)
def test_the_same_words(who: Who, name: str) -> None:
    """A launch that fails on the way ends with the same status, error, step, errno and hint."""
    argv, fields = FAILURES[name]
    ran = [launched(who, *argv, before=before, **fields) for before in (natively, by_python)]
    assert ran[0] == ran[1]
    assert ran[0].status in (125, 126, 127)
    assert ran[0].message


RULES = {
    "gone": (1, KIND_DIRECTORY, b"/no/such"),
    "another kind": (1, KIND_DIRECTORY, b"/etc/passwd"),
    "a link": (1, KIND_FILE, b"/proc/self"),
}


@pytest.mark.parametrize("name", RULES)
def test_the_same_words_about_grants(who: Who, name: str) -> None:
    """What the native program finds wrong before it does anything is told by Python."""
    need_landlock(1)
    fields: dict[str, Any] = {"landlock_abi": 1, "landlock_fs": 1, "path_rules": (RULES[name],)}
    ran = [launched(who, "/bin/true", before=before, **fields) for before in (natively, by_python)]
    assert ran[0] == ran[1]
    assert ran[0].message.startswith("cannot grant ")


def test_the_same_words_about_the_view(who: Who) -> None:
    """The number of the record that failed comes back too."""
    need_namespaces(who)
    kinds = libc.CLONE_NEWNS | (0 if who.is_root else libc.CLONE_NEWUSER)
    maps = {} if who.is_root else dict.fromkeys(("uid_map", "gid_map"), b"%d %d 1" % (who.uid, who.uid))
    view = ((VIEW_TREE, 0, b"/", b""), (VIEW_BIND, 0, b"/usr", b"/no/such"))
    ran = both(who, "/bin/true", namespaces=kinds, view=view, **maps)
    assert (ran.status, ran.step) == (125, "make the view")
    assert ran.message.startswith("cannot make the view: /usr: ")


def test_in_a_process_with_threads(who: Who) -> None:
    """`spawn` does not mind other threads, runs no Python in the child, and leaves no descriptor behind."""

    def run() -> tuple[int, bytes]:
        os.register_at_fork(after_in_child=os.abort)
        ended = threading.Event()
        threads = [threading.Thread(target=ended.wait) for _ in range(4)]
        for thread in threads:
            thread.start()
        out, before = os.memfd_create("out"), os.listdir("/proc/self/fd")
        os.dup2(out, 1)
        words = (b"/bin/sh", b"-c", b'echo "$A" $(ls /proc/self/fd)')
        spawned = child.spawn(Plan(executable=words[0], argv=words), Watch, (b"A=1", b"PATH=/bin"))  # type: ignore[arg-type]
        heard = os.read(spawned.reader, steps.RECORD.size)
        index, _, command = steps.RECORD.unpack(heard)
        assert (index, os.read(spawned.reader, 1)) == (steps.COMMAND, b"")
        os.waitpid(spawned.pid, 0)
        status = os.waitpid(command, 0)[1]
        os.close(spawned.reader)
        assert os.listdir("/proc/self/fd") == before
        ended.set()
        return status, os.pread(out, 100, 0)

    assert in_child(run, who) == (0, b"1 0 1 2 3\n")


def test_what_was_not_given_is_not_done(who: Who) -> None:
    """A plan with a relay, a group, an observer that nobody gave is not launched as if it had none."""
    for fields in ({"egress": b"x"}, {"cgroup_way": 2}, {"observe": b"x" * 8}, {"broker_filter": b"x" * 8}):
        plan = Plan(executable=b"/bin/true", argv=(b"true",), **fields)

        def run(plan: Plan = plan) -> int:
            spawned = child.spawn(plan, Watch, ())  # type: ignore[arg-type]
            index: int = steps.RECORD.unpack(os.read(spawned.reader, steps.RECORD.size))[0]
            assert os.read(spawned.reader, 1) == b""
            return index

        assert in_child(run, who) == steps.NOT_SERVED


def test_capabilities_that_execve_would_bring_back(root: Who) -> None:
    """Root that has laid some down does not get them again by way of the program: Python forks."""

    def lay_down() -> None:
        rest = libc.capget()[1] & ~(1 << 18)  # CAP_SYS_CHROOT
        libc.capset(libc.capability_sets(rest, rest, 0))
        forks.append(os.fork)
        os.fork = lambda: forks.append(None) or forks[0]()

    forks: list[Any] = []

    def run() -> tuple[int, int]:
        lay_down()
        words = (b"/bin/true",)
        started = launch.launch(Plan(executable=words[0], argv=words), {}, Watch)  # type: ignore[arg-type]
        return os.waitpid(started.pid, 0)[1], len(forks)

    assert in_child(run, root) == (0, 2)


def test_a_program_that_cannot_be_started(who: Who) -> None:
    """Then Python forks: it is no condition of a launch."""

    def before() -> None:
        native.BINARY = "/no/such"

    ran = launched(who, "/bin/echo", "x", before=before)
    assert (ran.status, ran.out) == (0, b"x\n")


def test_descriptors_of_ours_are_not_passed(who: Who) -> None:
    """A plan that passes the number of a descriptor that the launch itself opens is refused, by both."""
    for before in (natively, by_python):
        with pytest.raises(SandrunError, match="cannot pass file descriptor"):
            in_child(lambda before=before: (before(), _launch_passing_all()), who)  # type: ignore[misc]


def _launch_passing_all() -> None:
    plan = Plan(executable=b"/bin/true", argv=(b"true",), pass_fds=tuple(range(3, 40)))
    launch.launch(plan, {}, Watch)  # type: ignore[arg-type]
