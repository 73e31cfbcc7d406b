"""A kept plan that is Python's to launch: the front finds and checks it, and Python does not plan it again.

That is where hosts are named, whose relay stands beside a supervisor in Python, and where Python's executor is asked for.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from sandrun import native
from sandrun.plan.format import FIELDS, Plan
from sandrun.plancache.entry import entry, parse
from sandrun.plancache.keep import FRONT
from sandrun.primitives.fds import SEALS
from tests.integration.relaying import listener
from tests.integration.test_plan_cache import MOST_TRIES, PLAIN, Front, front, places, until
from tests.integration.test_plan_cache_events import Events, without_what_differs
from tests.support import need_landlock, need_namespaces

if TYPE_CHECKING:
    import socket
    import subprocess
    from collections.abc import Iterator

__all__ = ["front", "places"]
CONNECT = """
import socket, sys
for port in sys.argv[1:]:
    try:
        with socket.create_connection(("127.0.0.1", int(port)), 30) as sock:
            print(sock.recv(100).decode())
    except OSError as error:
        print(type(error).__name__)
"""
PYTHON = ("/usr/bin/python3", "-I", "-c", CONNECT)
WAYS = ("relay", "executor")


@pytest.fixture
def server() -> Iterator[socket.socket]:
    """A listener on the loopback of the test, which takes what comes and answers `hello`."""
    with listener("127.0.0.1") as found:
        yield found


def port_of(server: socket.socket) -> str:
    return str(server.getsockname()[1])


def served(server: socket.socket, front: Front, *words: str, **options: Any) -> tuple[bool, Any]:
    """`is_kept`, while the server answers one connection that it may get."""
    over = threading.Event()

    def serve() -> None:
        server.settimeout(0.05)
        while not over.is_set():
            with contextlib.suppress(TimeoutError):
                accepted, _ = server.accept()
                accepted.sendall(b"hello")
                accepted.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        return front.is_kept(*words, **options)
    finally:
        over.set()
        thread.join()


def way_of(front: Front, way: str) -> tuple[tuple[str, ...], dict[str, str]]:
    """Options and environment of a launch that Python executes, or supervises."""
    if way == "executor":
        return PLAIN, {**front.env, native.VARIABLE: "python"}
    need_namespaces(front.who)
    need_landlock(1)
    return ("--connect", "127.0.0.1:9"), front.env


def kept(front: Front, *words: str, **options: Any) -> subprocess.CompletedProcess[Any]:
    """Run it until Python is given what is kept."""
    return until(lambda: front.is_kept(*words, **options))


def test_hosts(front: Front, server: socket.socket) -> None:
    """What is granted is reached, what is not is refused and told of, as in the launch that was planned."""
    need_namespaces(front.who)
    need_landlock(1)
    port = port_of(server)
    words = ("--connect", f"127.0.0.1:{port}", *PYTHON, port, "1")
    first, planned = served(server, front, *words)
    assert not first
    done = until(lambda: served(server, front, *words))
    assert done.stdout.split() == ["hello", "ConnectionRefusedError"]
    assert (done.returncode, done.stdout, done.stderr) == (planned.returncode, planned.stdout, planned.stderr)


def test_another_port_is_another_plan(front: Front, server: socket.socket) -> None:
    """A profile that grants another host is planned again, and what was kept grants nothing any more."""
    need_namespaces(front.who)
    need_landlock(1)
    port = port_of(server)
    profile = front.cwd / "hosts.toml"
    text = 'schema = 1\nextends = "default"\n[network]\nconnect = ["127.0.0.1:{}"]\n'
    profile.write_text(text.format(port))
    front.who.own(profile)
    time.sleep(2.2)  # so that it is old enough to be believed
    words = ("-p", str(profile), *PYTHON, port)
    assert until(lambda: served(server, front, *words)).stdout == "hello\n"
    profile.write_text(text.format(int(port) % 60000 + 1))
    is_kept, done = served(server, front, *words)
    assert not is_kept
    assert done.stdout == "ConnectionRefusedError\n"


@pytest.mark.parametrize("way", WAYS)
def test_events(front: Front, way: str) -> None:
    """They go to the number of this call, and are those of a launch that was planned."""
    words, env = way_of(front, way)
    told = []
    for number in (37, 53):
        for _ in range(MOST_TRIES):
            with Events(number) as events:
                command = ("--status-fd", str(number), *words, "sh", "-c", "exit 3")
                is_kept, done = front.is_kept(*command, env=env, pass_fds=[number])
                assert done.returncode == 3, done.stderr
                told.append(without_what_differs(events.read()))
            if is_kept:
                break
            time.sleep(0.1)
        else:
            pytest.fail("never kept")
    assert [event["event"] for event in told[0]] == ["planned", "exec", "exit"]
    assert all(events == told[0] for events in told)


@pytest.mark.parametrize("way", WAYS)
def test_the_words_and_values_are_those_of_the_call(front: Front, way: str) -> None:
    """Of the command line and of variables nothing is kept but names; and what was said to Python the command never has."""
    words, env = way_of(front, way)
    words = (*words, "--env", "SHOWN", "--env", native.VARIABLE, "sh", "-c", f"echo $0 $SHOWN ${native.VARIABLE}")
    kept(front, *words, "first", env={**env, "SHOWN": "before"})
    is_kept, done = front.is_kept(*words, "second", env={**env, "SHOWN": "now"})
    assert is_kept
    assert done.stdout == "second now\n"


@pytest.mark.parametrize("way", WAYS)
def test_what_cannot_be_launched_is_planned(front: Front, way: str) -> None:
    """A plan that fails at a step is forgotten; the same process plans again, and the command runs once."""
    words, env = way_of(front, way)
    words = (*words, "-w", ".", "sh", "-c", "echo x >>ran")
    assert kept(front, *words, env=env).returncode == 0
    path = front.entry()
    (front.cwd / "ran").unlink()
    found = parse(path.read_bytes(), path.name)
    assert found
    salt, facts, (plan, values, flags, planned) = found
    fields = {name: getattr(Plan.from_bytes(plan), name) for name, _, _ in FIELDS}
    wrong = Plan(**{**fields, "cwd": b"/nowhere/at/all"}).to_bytes()
    path.write_bytes(entry(path.name, salt, facts, wrong, values, flags, planned))
    is_kept, done = front.is_kept(*words, env=env)
    assert not is_kept  # twice: with what was kept, and without
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (front.cwd / "ran").read_text() == "x\n"
    assert not path.exists()
    assert kept(front, *words, env=env).returncode == 0


@pytest.mark.parametrize("way", WAYS)
def test_what_is_stale_is_planned_with_its_events(front: Front, way: str) -> None:
    """The descriptor for events that the front has taken goes to Python all the same, if nothing is kept any more."""
    words, env = way_of(front, way)
    command = ("--status-fd", "37", *words, "sh", "-c", "exit 3")
    for _ in range(MOST_TRIES):
        with Events(37):
            is_kept, done = front.is_kept(*command, env=env, pass_fds=[37])
        if is_kept:
            break
        time.sleep(0.1)
    else:
        pytest.fail(f"never kept: {done.stderr}")
    with Events(37) as events:
        is_kept, done = front.is_kept(*command, env={**env, "PATH": "/usr/bin:/bin"}, pass_fds=[37])
        assert [event["event"] for event in events.read()] == ["planned", "exec", "exit"]
    assert not is_kept
    assert (done.returncode, done.stderr) == (3, "")


@pytest.mark.parametrize("blocks", [0, 1, 4, 8, 16, 64])
@pytest.mark.parametrize("way", WAYS)
def test_files_that_may_not_grow(front: Front, way: str, blocks: int) -> None:
    """A limit on the size of files is one on what is handed over as well: then the launch is planned, or an error."""
    words, env = way_of(front, way)
    kept(front, *words, "true", env=env)
    limit = (blocks * 1024, resource.RLIM_INFINITY)
    script = (
        "import os, resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, {}); os.execv(sys.argv[1], sys.argv[1:])"
    )
    starter = ["/usr/bin/python3", "-I", "-c", script.format(limit)]
    done = front.who.run([*starter, front.place / FRONT, *words, "echo", "ran"], env=env, cwd=front.cwd)
    if done.returncode:
        first = done.stderr.splitlines()[0]
        assert first.startswith(("sandrun: cannot start the relay", "sandrun: cannot compile the seccomp filter"))
        assert first.endswith(": File too large (EFBIG)")
    assert (done.returncode, done.stdout) in ((0, "ran\n"), (125, ""))
    assert done.returncode == 0 or blocks < 64


@pytest.mark.parametrize("way", WAYS)
def test_not_found(front: Front, way: str) -> None:
    """A command that cannot be executed has the status and the words of a launch that is planned."""
    words, env = way_of(front, way)
    program = front.cwd / "program"
    program.write_text("#!/bin/sh\nexit 3\n")
    program.chmod(0o755)
    front.who.own(program)
    assert kept(front, *words, "-r", ".", "-x", "./program", "./program", env=env).returncode == 3
    program.write_text("#!/no/such/interpreter\n")
    _, done = front.is_kept(*words, "-r", ".", "-x", "./program", "./program", env=env)
    _, again = front.is_kept(*words, "-r", ".", "-x", "./program", "./program", env=env)
    assert (done.returncode, done.stderr) == (again.returncode, again.stderr)
    assert done.returncode in (126, 127)


@pytest.mark.parametrize("said", ["", "x", "1", "999", "-1", "3:4", str(2**40)])
def test_nobody_else_says_what_is_kept(front: Front, said: str) -> None:
    """A variable that was not set by the front is a wrong one, and nothing runs."""
    done = front.run(*PLAIN, "echo", "ran", env={**front.env, native.VARIABLE: f"kept:{said}"})
    assert (done.returncode, done.stdout) == (125, "")
    assert done.stderr.startswith(f"sandrun: not an executor: {native.VARIABLE}=kept:{said}\n")


def test_a_descriptor_of_the_caller_is_not_believed(front: Front) -> None:
    """Also a sealed one is of no use, unless its very process has sealed it."""
    fd = os.memfd_create("said", os.MFD_ALLOW_SEALING)
    try:
        os.write(fd, b"%d::1:-1\n" % os.getpid())
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
        env = {**front.env, native.VARIABLE: f"kept:{fd}"}
        done = front.run(*PLAIN, "echo", "ran", env=env, pass_fds=[fd])
    finally:
        os.close(fd)
    assert (done.returncode, done.stdout) == (125, "")


def test_a_damaged_document_is_not_launched(front: Front) -> None:
    """Nor is one of this very process that is cut short: then nothing runs, and it is told which variable is wrong."""
    script = (
        "import fcntl, os, sys\n"
        "fd = os.memfd_create('said', os.MFD_ALLOW_SEALING)\n"
        "os.write(fd, b'%d::2:-1\\n\\3\\0\\xff\\0\\0\\0' % os.getpid())\n"
        f"fcntl.fcntl(fd, fcntl.F_ADD_SEALS, {SEALS})\n"
        "os.set_inheritable(fd, True)\n"
        f"os.environ['{native.VARIABLE}'] = f'kept:{{fd}}'\n"
        "os.execv(sys.argv[1], sys.argv[1:])\n"
    )
    words = [*front.who.sandrun, *PLAIN, "echo", "ran"]
    done = front.who.run(["/usr/bin/python3", "-I", "-c", script, *words], env=front.env, cwd=front.cwd)
    assert (done.returncode, done.stdout) == (125, "")
    assert "sandrun: not an executor: " in done.stderr
