"""The broker in real launches: hosts by address where no namespace can be had, against a command that plays tricks."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import socket
import struct
import subprocess
import textwrap
import threading
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import pytest

from sandrun import connector as broker
from sandrun import libc
from sandrun.primitives import notify
from tests.escape.outside import is_quiet, python
from tests.integration.brokered import brokered, record
from tests.integration.supervised import gone, soon_enough, wait_until
from tests.support import Who, descendants, in_child, need_landlock, need_namespaces

if TYPE_CHECKING:
    from collections.abc import Iterator

SECONDS = 20.0
"""How long a socket lingers that nobody waits for."""
READ_ONLY = ("-p", "none", "-x", "@all")
PRELUDE = """
import ctypes, errno, fcntl, os, select, signal, socket, struct, sys, threading, time
port, other = int(sys.argv[1]), int(sys.argv[2])
libc = ctypes.CDLL(None, use_errno=True)
def raw(fd, address, length=None):
    if libc.connect(fd, address, len(address) if length is None else length):
        return errno.errorcode[ctypes.get_errno()]
    return "ok"
def fresh(address):
    with socket.socket() as client:
        return raw(client.fileno(), address)
def inet(host, port):
    return struct.pack("=H", 2) + struct.pack(">H4s8x", port, socket.inet_aton(host))
"""


class Servers(NamedTuple):
    """Two listening sockets on the host's loopback, of which the first is granted."""

    granted: socket.socket
    other: socket.socket

    @property
    def ports(self) -> tuple[int, int]:
        return self.granted.getsockname()[1], self.other.getsockname()[1]


@pytest.fixture
def servers() -> Iterator[Servers]:
    with contextlib.ExitStack() as stack:
        yield Servers(*(stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=300)) for _ in range(2)))


def argv(who: Who, servers: Servers, code: str, *words: str) -> list[str]:
    """sandrun with the first server granted, running this code."""
    need_landlock(4)
    port, other = servers.ports
    grant = ("--connect", f"127.0.0.1:{port}")
    program = PRELUDE + textwrap.dedent(code)
    command = (python(), "-I", "-c", program, str(port), str(other))
    return brokered(who, "-q", *READ_ONLY, *grant, *words, "--", *command)


def ran(who: Who, servers: Servers, code: str, *words: str, **options: Any) -> list[str]:
    """What the code prints, by lines."""
    done = who.run(argv(who, servers, code, *words), **options)
    assert done.returncode == 0, done.stderr
    return str(done.stdout).splitlines()


# --- what works ------------------------------------------------------------------------------------------------------


def test_granted_and_refused(who: Who, servers: Servers) -> None:
    """The granted address is reached by the command's own socket; all others are refused, and listed in the report."""
    report = who.home / "report.json"
    code = """
    client = socket.create_connection(("127.0.0.1", port), 10)
    print(client.getpeername() == ("127.0.0.1", port), client.recv(5))
    print(fresh(inet("127.0.0.1", other)))
    print(fresh(inet("127.0.0.2", port)))
    print(fresh(inet("169.254.169.254", 80)))
    """

    def greet() -> None:
        accepted, _ = servers.granted.accept()
        with accepted:
            accepted.sendall(b"hello")

    thread = threading.Thread(target=greet)
    thread.start()
    assert ran(who, servers, code, "--report", str(report)) == ["True b'hello'", "EACCES", "EACCES", "EACCES"]
    thread.join()
    port, other = servers.ports
    found = record(report)
    assert found["complete"]
    assert [(row["endpoint"], row["connections"], row["failed"]) for row in found["endpoints"]] == [
        (f"tcp:127.0.0.1:{port}", 1, 0)
    ]
    assert {row["target"] for row in found["refused"]} == {
        f"127.0.0.1:{other}",
        f"127.0.0.2:{port}",
        "169.254.169.254:80",
    }
    assert is_quiet(servers.other)


def test_errors_are_the_kernels(who: Who, servers: Servers) -> None:
    """What connect(2) answers comes back: nobody listens, no address, too long, a bad pointer, no descriptor, no socket."""
    code = """
    good, nobody, one, pair = inet("127.0.0.1", port), inet("127.0.0.1", 1), socket.socket(), socket.socketpair()
    print(raw(one.fileno(), good[:7]), raw(one.fileno(), good, 129), raw(one.fileno(), good, -1), raw(one.fileno(), b""))
    print(raw(one.fileno(), ctypes.c_void_p(16), 16), raw(one.fileno(), ctypes.c_void_p(-16), 16))
    print(raw(999, good), raw(-1, good), raw(os.open("/dev/null", 0), good), raw(one.fileno(), nobody))
    print(fresh(good), raw(pair[0].fileno(), good))
    """
    assert ran(who, servers, code, "--connect", "127.0.0.1:1") == [
        "EINVAL EINVAL EINVAL EINVAL",
        "EFAULT EFAULT",
        "EBADF EBADF ENOTSOCK ECONNREFUSED",
        "ok EACCES",
    ]


def test_it_is_the_same_socket(who: Who, servers: Servers) -> None:
    """Options, copies, epoll registrations and O_NONBLOCK of the socket are as they were, and AF_UNSPEC disconnects it."""
    code = """
    client = socket.socket()
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    copy, poll = client.dup(), select.epoll()
    poll.register(copy, select.EPOLLOUT | select.EPOLLET)
    poll.poll(0)
    client.setblocking(False)
    print(raw(client.fileno(), inet("127.0.0.1", port)) in ("ok", "EINPROGRESS"))
    print(poll.poll(10) == [(copy.fileno(), select.EPOLLOUT)])
    print(copy.getpeername()[1] == port, client.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0)
    print(fcntl.fcntl(copy, fcntl.F_GETFL) & os.O_NONBLOCK != 0, raw(copy.fileno(), inet("127.0.0.1", port)) in ("ok", "EISCONN"))
    print(raw(copy.fileno(), struct.pack("=H14x", 0)))
    try:
        client.getpeername()
    except OSError as error:
        print(errno.errorcode[error.errno])
    """
    assert ran(who, servers, code) == ["True", "True", "True True", "True True", "ok", "ENOTCONN"]


def test_threads_and_children(who: Who, servers: Servers) -> None:
    """Many threads at once, a child, and a thread whose leader has ended are all served."""
    code = """
    done = []
    def one():
        with socket.socket() as client:
            done.append(raw(client.fileno(), inet("127.0.0.1", port)))
    threads = [threading.Thread(target=one) for _ in range(150)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    print(len(done), set(done))
    sys.stdout.flush()
    child = os.fork()
    if not child:
        one()
        os._exit(done[-1] != "ok")
    print(os.waitpid(child, 0)[1])
    sys.stdout.flush()
    def alone():
        time.sleep(0.3)
        one()
        os.write(1, done[-1].encode())
        os._exit(0)
    threading.Thread(target=alone).start()
    libc.pthread_exit(None)
    """
    assert ran(who, servers, code) == ["150 {'ok'}", "0", "ok"]


def test_in_a_pid_namespace(who: Who, servers: Servers) -> None:
    """Where only the network namespace is missing, the command's processes are served in a pid namespace of their own."""
    need_namespaces(who)
    if who.is_root:
        pytest.skip("an uid 0 without CAP_SETFCAP cannot be mapped once more (user_namespaces(7))")
    code = """
    print(os.getpid() < 10, fresh(inet("127.0.0.1", port)), fresh(inet("127.0.0.1", other)))
    """
    words = argv(who, servers, code, "--isolate", "true")
    done = who.run([word.replace("max_user_namespaces", "max_net_namespaces") for word in words])
    assert (done.returncode, done.stdout) == (0, "True ok EACCES\n"), done.stderr


def test_denials_win(who: Who, servers: Servers) -> None:
    """What is denied stays closed in every spelling, within a network that is granted."""
    code = """
    def mapped(host):
        return struct.pack("=H", 10) + struct.pack(">HI", port, 0) + bytes(10) + b"\\xff\\xff" + socket.inet_aton(host) + bytes(4)
    with socket.socket(socket.AF_INET6) as client:
        print([raw(client.fileno(), mapped(host)) for host in ("127.0.0.1", "0.0.0.0")])
    print([fresh(inet(host, port)) for host in ("127.0.0.1", "0.0.0.0", "127.0.0.2")])
    """
    port = servers.ports[0]
    words = ("--connect", f"0.0.0.0/0:{port}", "--deny-endpoint", "127.0.0.1")
    assert ran(who, servers, code, *words) == ["['EACCES', 'EACCES']", "['EACCES', 'EACCES', 'ECONNREFUSED']"]


# --- waiting ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def full() -> Iterator[Servers]:
    """As `servers`, and the first one's queue is full: who connects to it waits."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        yield Servers(server, stack.enter_context(socket.create_server(("127.0.0.1", 0))))


def test_a_connection_that_waits_holds_up_nothing(who: Who, full: Servers) -> None:
    """While one thread waits for its connection others get theirs, the timeout holds, and no process is left."""
    code = """
    threading.Thread(target=lambda: fresh(inet("127.0.0.1", port))).start()
    time.sleep(0.1)
    print(fresh(inet("127.0.0.1", other)))
    sys.stdout.flush()
    """
    before = descendants()

    def attempt(timeout: str) -> bool:
        words = ("--connect", f"127.0.0.1:{full.ports[1]}", "--timeout", timeout, "--grace", "1s")
        done = who.run(argv(who, full, code, *words))
        assert done.returncode == 124, done.stderr
        assert not set(descendants()) - set(before)
        return bool(done.stdout == "ok\n")

    soon_enough(attempt)


def test_a_signal_interrupts_it(who: Who, full: Servers) -> None:
    """A handler runs while connect(2) waits, and the call can be made again, as without sandrun."""
    code = """
    def handler(*_):
        raise InterruptedError
    signal.signal(signal.SIGALRM, handler)
    client = socket.socket()
    for _ in range(3):
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.3)
            client.connect(("127.0.0.1", port))
        except OSError as error:
            print(type(error).__name__)
    """
    assert ran(who, full, code) == ["InterruptedError"] * 3


def test_signals_at_any_moment(who: Who, servers: Servers) -> None:
    """Signals whose handlers let calls go on change no answer: each connection is made, and once."""
    code = """
    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.siginterrupt(signal.SIGALRM, False)
    answers = set()
    for number in range(100):
        with socket.socket() as client:
            # At another moment of each call; and seldom enough then that a busy machine comes to an end of it.
            signal.setitimer(signal.ITIMER_REAL, 0.0002 * (1 + number % 20), 0.5)
            answers.add(raw(client.fileno(), inet("127.0.0.1", port)))
            client.getpeername()
    signal.setitimer(signal.ITIMER_REAL, 0)
    print(answers)
    """
    assert ran(who, servers, code) == ["{'ok'}"]


def test_a_flood_starves_nothing(who: Who, servers: Servers) -> None:
    """A command that does nothing but ask for what is refused is still ended by its timeout."""
    code = """
    for _ in range(3):
        if not os.fork():
            break
    while True:
        with socket.socket() as client:
            raw(client.fileno(), inet("127.0.0.1", other))
    """
    done = who.run(argv(who, servers, code, "--timeout", "1s", "--grace", "1s"))
    assert done.returncode == 124, done.stderr
    assert is_quiet(servers.other)


# --- tricks ----------------------------------------------------------------------------------------------------------


def test_other_sockets(who: Who, servers: Servers) -> None:
    """Sockets that connect in another way cannot be had, nor routes of their own for those that can."""
    code = """
    def tried(make):
        try:
            return make() or "made"
        except OSError as error:
            return errno.errorcode[error.errno]
    client, pair = socket.socket(), socket.socketpair()
    print(tried(lambda: socket.socket(2, 1, 262)), tried(lambda: socket.socket(2, 2)), tried(lambda: socket.socket(1, 1)))
    print(tried(lambda: client.sendto(b"x", socket.MSG_FASTOPEN, ("127.0.0.1", other))))
    print(tried(lambda: client.setsockopt(0, 4, bytes((1, 131, 7, 4, 127, 0, 0, 1)))))
    print(tried(lambda: client.setsockopt(6, 30, 1)))
    print(tried(lambda: socket.socket(10, 1).setsockopt(41, 57, bytes(24))))
    print(raw(pair[0].fileno(), struct.pack("=H", 1) + b"/run/socket"))
    """
    assert ran(who, servers, code) == [
        "EPERM EPERM EAFNOSUPPORT",
        *("ENOTSUP",) * 4,  # the same number as EOPNOTSUPP
        "EAFNOSUPPORT",
    ]


def test_who_cannot_be_looked_into_connects_nowhere(who: Who, servers: Servers) -> None:
    """A process that is not dumpable is refused, and that is recorded."""
    report = who.home / "report.json"
    code = 'libc.prctl(4, 0, 0, 0, 0); print(fresh(inet("127.0.0.1", port)))'
    assert ran(who, servers, code, "--report", str(report)) == ["EACCES"]
    assert [row["reason"] for row in record(report)["refused"]] == ["not dumpable"]
    assert is_quiet(servers.granted)


def test_no_listener_of_its_own(who: Who, servers: Servers) -> None:
    """The command cannot take the calls over: a second listener is refused, and a filter without one only closes."""
    code = """
    steps = ((0x20, 0, 0, 0), (0x15, 0, 1, 42 if os.uname().machine == "x86_64" else 203), (6, 0, 0, 0x7FC00000), (6, 0, 0, 0x7FFF0000))
    program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps), 32)
    fprog = ctypes.create_string_buffer(struct.pack("@HxxxxxxQ", 4, ctypes.addressof(program)), 16)
    number = 317 if os.uname().machine == "x86_64" else 277
    for flags in (8, 0):
        print(libc.syscall(number, 1, flags, fprog), errno.errorcode.get(ctypes.get_errno()))
        print(fresh(inet("127.0.0.1", port)))
    """
    lines = ran(who, servers, code)
    assert lines[:2] == ["-1 EBUSY", "ok"]
    assert lines[3] == "ENOSYS"


def test_within_another(who: Who, servers: Servers) -> None:
    """In a sandbox that has a broker there can be no other: 125 and the reason."""
    port = servers.ports[0]
    words = ("--connect", f"127.0.0.1:{port}", "--")
    done = who.run(brokered(who, "-q", *READ_ONLY, *words, *who.sandrun, "-q", *READ_ONLY, *words, "true"))
    assert done.returncode == 125
    assert "another process watches the calls" in done.stderr


def test_the_supervisors_death_closes_it(who: Who, full: Servers) -> None:
    """When the supervisor is killed the command ends, and so does the worker that connects for it."""
    code = """
    threading.Thread(target=lambda: fresh(inet("127.0.0.1", port))).start()
    print("waiting", flush=True)
    time.sleep(600)
    """
    before = descendants()

    def started() -> set[int]:
        return set(descendants()) - set(before) - {process.pid}

    with who.popen(argv(who, full, code), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "waiting\n"
        wait_until(lambda: len(started()) == 2)  # the command and a worker
        found = started()
        process.send_signal(signal.SIGKILL)
        wait_until(lambda: all(map(gone, found)))


def lingering(server: socket.socket) -> socket.socket:
    """A connection with something unsent, for which close(2) of the last copy waits."""
    client = socket.create_connection(server.getsockname())
    client.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            client.send(bytes(1 << 16))
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("@ii", 1, int(SECONDS)))
    client.setblocking(True)
    return client


def test_a_worker_keeps_its_copy_until_the_supervisors_is_closed(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command may close its socket as soon as it is answered; the supervisor does not linger for it."""
    monkeypatch.setattr(notify, "answer", lambda *_: True)

    def closed() -> tuple[bool, float]:
        client = lingering(servers.granted)
        ours, theirs = libc.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        supervisor = os.getpid()
        pid = os.fork()
        if not pid:
            client.close()
            broker._work(supervisor, 0, 1, b"\2\0" + bytes(14), theirs, is_again=False)
        os.close(theirs)
        pidfd = os.pidfd_open(pid)
        libc.send_fd(ours, b"s", client.fileno())
        said = [os.read(ours, 4) for _ in range(2)]
        assert said[1] == b"h"
        is_there = not select.select([pidfd], [], [], 0.3)[0]
        start = time.monotonic()
        client.close()
        took = time.monotonic() - start
        os.close(ours)
        os.waitpid(pid, 0)
        return is_there, took

    is_there, took = in_child(closed)
    assert is_there
    assert took < SECONDS / 2


def test_a_worker_whose_supervisor_is_gone_connects_nothing(servers: Servers) -> None:
    """Not even if it sent the socket: it may have been killed before its end could end the worker."""

    def heard() -> bytes:
        ours, theirs = libc.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        gone = os.fork()
        if not gone:
            os._exit(0)
        os.waitpid(gone, 0)
        with socket.socket() as client:
            libc.send_fd(ours, b"s", client.fileno())
        pid = os.fork()
        if not pid:
            address = struct.pack("=H", socket.AF_INET) + struct.pack(">H4s8x", port, bytes((127, 0, 0, 1)))
            broker._work(gone, 0, 1, address, theirs, is_again=False)
        os.waitpid(pid, 0)
        os.set_blocking(ours, False)
        os.close(theirs)
        try:
            return os.read(ours, 4)
        except ConnectionResetError:
            return b""  # it ended before it took its socket

    port = servers.granted.getsockname()[1]
    assert in_child(heard) == b""


def test_a_copy_that_cannot_be_passed_on_does_not_linger(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command can have its user's limit of files in flight reached, and close its own copy at once."""
    monkeypatch.setattr(notify, "answer", lambda *_: True)

    def refuse(*_: object) -> None:
        raise OSError(errno.ETOOMANYREFS, os.strerror(errno.ETOOMANYREFS))

    class Caller:
        def read(self, _address: int, _length: int) -> bytes:
            return struct.pack("=H", socket.AF_INET) + struct.pack(">H4s8x", 80, bytes(4))

        def descriptor(self, _fd: int) -> int:
            return lingering(servers.granted).detach()

    def served() -> float:
        rule = (65535, 0, bytes(8), b"tcp:*")
        one = broker.Broker(cast("Any", SimpleNamespace(broker_rules=(rule,), broker_deny=())))
        one._is_over = True  # there is no listener here
        monkeypatch.setattr(libc, "send_fd", refuse)
        start = time.monotonic()
        one._serve_call(cast("Any", Caller()), 1, os.getpid(), (3, 0, 16))
        took = time.monotonic() - start
        one.end()
        return took

    assert in_child(served) < SECONDS / 2


def test_the_trial_leaves_nothing(who: Who) -> None:
    """Finding out whether it works leaves no process and no descriptor."""

    def tried() -> tuple[str, int, bool]:
        before = len(os.listdir("/proc/self/fd"))
        answer = notify.attempt(os.uname().machine)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)
            return answer, -1, False
        return answer, len(os.listdir("/proc/self/fd")) - before, True

    assert in_child(tried, who) == ("", 0, True)
