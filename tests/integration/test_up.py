"""`sandrun up`: commands that start together once all are confined, and end together."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from sandrun.group import member
from sandrun.group.reading import read_group
from tests.support import children, free_port, need_landlock, need_program

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from tests.support import Who

    Start = Callable[..., "Up"]

SECONDS = 60
OPEN = 'profile = "none"\nfilesystem = {read = ["@all"], execute = ["@all"], write = ["@all"]}\n'
"""What the commands of most tests may do: here it is about the group."""


class Up:
    """A running group in a directory of its own: what it says, and its events."""

    def __init__(self, who: Who, text: str, before: Sequence[str] = (), **options: Any) -> None:
        self.place = who.home / "group"
        self.place.mkdir(exist_ok=True)
        file = self.place / "group.toml"
        file.write_text(f"schema = 1\n{text}")
        file.chmod(0o644)
        who.own(self.place, file)
        self.process = who.popen(
            [*before, *who.sandrun, "up", "--json", file],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )
        self.events: list[dict[str, Any]] = []
        self.said = ""

    def wait_for(self, event: str, command: str = "") -> dict[str, Any]:
        """Read events until this one comes."""
        assert self.process.stdout
        for line in self.process.stdout:
            self.events.append(json.loads(line))
            if self.events[-1]["event"] == event and command in ("", self.events[-1].get("command")):
                return self.events[-1]
        raise AssertionError(f"no event {event}: {self.events} {self.process.stderr and self.process.stderr.read()}")

    def end(self) -> int:
        """Wait for the end, and take all that it told."""
        out, self.said = self.process.communicate(timeout=SECONDS)
        self.events += [json.loads(line) for line in out.splitlines()]
        return self.process.returncode

    def order(self, event: str) -> list[str]:
        return [one["command"] for one in self.events if one["event"] == event]


as_user = pytest.mark.parametrize("who", ["user"], indirect=True)
"""For what is about the order of things, and not about who may do them."""


@pytest.fixture
def up(who: Who) -> Iterator[Start]:
    """Starts a group, which is gone when the test is over."""
    started: list[Up] = []

    def start(text: str, **options: Any) -> Up:
        started.append(Up(who, text, **options))
        return started[-1]

    yield start
    for one in started:
        with contextlib.suppress(ProcessLookupError):
            one.process.kill()
        one.process.communicate()


def command(name: str, shell: str, more: str = "", policy: str = OPEN) -> str:
    return f"[command.{name}]\nargv = ['sh', '-c', '''{shell}''']\n{policy}{more}\n"


def left(marker: str) -> list[int]:
    """The processes that have this word in their command line or environment."""
    found = []
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            text = b""
            for name in ("cmdline", "environ"):
                with contextlib.suppress(OSError), open(f"/proc/{pid}/{name}", "rb") as file:
                    text += file.read()
            if marker.encode() in text and int(pid) != os.getpid():
                found.append(int(pid))
    return found


def gone(marker: str) -> bool:
    """Whether there comes a look that finds none of them. One look decides: a command that had been let go may show up
    between two, before its supervisor ends it."""
    until = time.monotonic() + SECONDS
    while left(marker):
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def appears(path: Path) -> bool:
    """Whether a command makes this file in time."""
    until = time.monotonic() + SECONDS
    while not path.exists() and time.monotonic() < until:
        time.sleep(0.02)
    return path.exists()


def lineage(pid: int) -> list[str]:
    """A process and those above it, as ps(1) would show them, for who wants to know why it is there."""
    found = []
    while pid > 1:
        try:
            with (
                open(f"/proc/{pid}/stat") as file,
                open(f"/proc/{pid}/cmdline") as words,
                open(f"/proc/{pid}/wchan") as at,
            ):
                fields = file.read().rpartition(") ")[2].split()
                found.append(f"{pid} {fields[0]} {at.read()} {words.read()[:80]!r}")
        except OSError:
            break
        pid = int(fields[1])
    return found


def status_of(pid: int) -> dict[str, str]:
    with open(f"/proc/{pid}/status") as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file)


def ticks(pid: int) -> int:
    """The processor time of a process, in hundredths of a second."""
    with open(f"/proc/{pid}/stat") as file:
        return sum(map(int, file.read().rpartition(")")[2].split()[11:13]))


# --- start -----------------------------------------------------------------------------------------------------------


def test_none_starts_before_all_are_confined(up: Start) -> None:
    """Every event of a start comes behind the last of a confinement."""
    group = up("".join(command(name, "exit 0") for name in ("a", "b", "c")))
    assert group.end() == 0, group.said
    kinds = [one["event"] for one in group.events]
    assert kinds.count("confined") == kinds.count("started") == 3
    assert max(at for at, kind in enumerate(kinds) if kind == "confined") < kinds.index("started")


@pytest.mark.parametrize(
    ("words", "more", "status"),
    [
        ("['/nonexistent']", "", 127),
        ("['true']", "privileges = {user = 'no-such-user-here'}", 125),
        ("['true']", "filesystem = {read = ['/nonexistent']}", 125),
    ],
)
def test_one_that_cannot_be_confined(up: Start, words: str, more: str, status: int) -> None:
    """Then nothing of the others has run either."""
    group = up(command("a", "echo ran") + f"[command.b]\nargv = {words}\nprofile = 'programs'\n{more}\n")
    assert group.end() == status, group.said
    assert group.order("started") == []
    assert "ran" not in group.said.split()
    assert "b | sandrun: " in group.said


def test_links(up: Start) -> None:
    """Pipes and socketpairs by their names, and nothing else is open."""
    look = "for fd in 4 5 6 7 8 9; do (true >&$fd) 2>/dev/null && echo open $fd; done; true"
    text = command("a", f"echo one; echo two; echo three >&$SANDRUN_FD_S; {look}")
    text += command("b", "cat; read x <&$SANDRUN_FD_S; echo $x; echo $SANDRUN_FD_S")
    text += "[pipe.p]\nfrom = 'a:stdout'\nto = 'b:stdin'\n[socketpair.s]\nbetween = ['a', 'b']\n"
    group = up(text)
    assert group.end() == 0, group.said
    assert group.said.splitlines() == ["b | one", "b | two", "b | three", "b | 3"]


def test_environment_is_on_no_command_line(up: Start, who: Who) -> None:
    """A value in the file reaches its command, and is in nobody's arguments (/proc/PID/cmdline(5))."""
    secret = f"hunter{os.getpid()}-{time.monotonic_ns()}"  # others' are none of this test's
    group = up(command("a", "echo $A; sleep 0.5", f"env = {{A = '{secret}'}}\n"))
    group.wait_for("started", "a")
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
            assert secret.encode() not in file.read()
    assert group.end() == 0, group.said
    assert group.said == f"a | {secret}\n"


READY = {
    "fd": "sleep 0.3; echo x >&$SANDRUN_READY_FD; sleep 1",
    "file:here": "sleep 0.3; : >here; sleep 1",
    "exit": "sleep 0.3; exit 0",
}


@pytest.mark.parametrize("kind", READY)
def test_after_means_ready(up: Start, kind: str) -> None:
    """A command that starts after another one starts when that is ready, not before."""
    group = up(command("b", "exit 0", "after = ['a']\n") + command("a", READY[kind], f"ready = '{kind}'\n"))
    assert group.end() == 0, group.said
    kinds = [(one["event"], one.get("command")) for one in group.events]
    assert kinds.index(("started", "a")) < kinds.index(("ready", "a")) < kinds.index(("started", "b"))


@as_user
def test_ready_again(up: Start) -> None:
    """A command that starts again has to be ready again, and those that started after it go on."""
    shell = "mkdir once && { echo >&$SANDRUN_READY_FD; sleep 0.2; exit 1; }; echo >&$SANDRUN_READY_FD; sleep 1"
    more = "ready = 'fd'\nready_timeout = '60s'\nrestart = 'on-failure'\nrestart_delay = '10ms'\n"
    group = up(command("a", shell, more) + command("b", "sleep 1", "after = ['a']\n"))
    assert group.end() == 0, group.said
    assert group.order("ready").count("a") == 2


@as_user
def test_nobody_is_left_to_be_ready(up: Start) -> None:
    """A command that closes the descriptor is waited for, and nothing runs meanwhile."""
    group = up(command("a", "exec 3>&-; sleep 60", "ready = 'fd'\nready_timeout = '1s'\n"))
    group.wait_for("started", "a")
    time.sleep(0.2)
    before = ticks(group.process.pid)
    time.sleep(0.5)
    assert ticks(group.process.pid) - before <= 5
    assert group.end() == 124, group.said
    assert group.order("ready") == []


@as_user
def test_a_mistake_of_a_profile_is_told_by_the_file(up: Start) -> None:
    """What can only be seen at the launch names the file of the group, the command and the line."""
    group = up(
        "[command.a]\nargv = ['true']\nstderr = 'null'\nprofile = 'none'\n[command.a.privileges]\nuser = 'nobody-here'\n"
    )
    assert group.end() == 125
    assert "group.toml [command.a]:6: privileges.user" in group.said


@as_user
def test_never_ready(up: Start) -> None:
    """After its time the group is stopped, with the status of a timeout."""
    group = up(command("a", "sleep 60", "ready = 'fd'\nready_timeout = '200ms'\n") + command("b", "sleep 60"))
    assert group.end() == 124, group.said
    assert "a is not ready after 0.2 s: stopping the group" in group.said


# --- the end ---------------------------------------------------------------------------------------------------------


def test_a_required_one_dies(up: Start) -> None:
    """The whole group goes with it, and its status is the group's."""
    group = up(command("a", "sleep 0.2; exit 7") + command("b", "sleep 60 & sleep 60"))
    assert group.end() == 7, group.said
    assert "a ended with status 7: stopping the group" in group.said
    assert group.order("ended") == ["a", "b"]


@as_user
def test_one_that_is_not_required(up: Start) -> None:
    """The others go on."""
    group = up(command("a", "exit 7", "required = false\n") + command("b", "sleep 0.5; exit 0"))
    assert group.end() == 0, group.said
    assert group.order("stopping") == []


@as_user
def test_status_of_one(up: Start) -> None:
    """The end of the command that gives the status is the end of the group."""
    group = up("status = 'b'\n" + command("a", "sleep 60") + command("b", "sleep 0.2; exit 4"))
    assert group.end() == 4, group.said
    assert group.order("stopping") == ["a"]


@as_user
def test_restart(up: Start) -> None:
    """What failed starts again, later each time, until it has done so often enough."""
    text = command("a", "echo try; exit 5", "restart = 'on-failure'\nmax_restarts = 3\nrestart_delay = '50ms'\n")
    group = up(text)
    assert group.end() == 5, group.said
    assert group.said.count("a | try") == 4
    delays = [one["seconds"] for one in group.events if one["event"] == "restarting"]
    assert delays == [0.05, 0.1, 0.2]


@as_user
def test_restart_until_it_works(up: Start) -> None:
    """The links are still there at the second start."""
    text = command("a", "mkdir once && exit 1; echo again", "restart = 'on-failure'\nrestart_delay = '50ms'\n")
    group = up(text + command("b", "cat") + "[pipe.p]\nfrom = 'a:stdout'\nto = 'b:stdin'\n")
    assert group.end() == 0, group.said
    assert group.said.splitlines()[-1] == "b | again"


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_ordered_shutdown(up: Start, name: str) -> None:
    """Asked to end, the group stops in the reverse order of its start: the next one when the one before is gone."""
    text = command("a", "sleep 60") + command("b", "sleep 60", "after = ['a']\n")
    group = up(text + command("c", "sleep 60", "after = ['b']\n"))
    group.wait_for("started", "c")
    number = signal.Signals[name]
    group.process.send_signal(number)
    assert group.end() == 128 + number, group.said
    last = [(one["event"], one["command"]) for one in group.events if one["event"] in ("stopping", "ended")]
    assert last == [(event, name) for name in "cba" for event in ("stopping", "ended")]


@as_user
@pytest.mark.parametrize("name", ["HUP", "INT", "QUIT"])
def test_what_the_caller_ignores(up: Start, name: str) -> None:
    """As nohup(1) makes it, or a shell for what it starts in the background."""
    group = up(command("a", "sleep 1"), before=("sh", "-c", f"trap '' {name}; exec \"$@\"", "sh"))
    group.wait_for("started", "a")
    group.process.send_signal(signal.Signals[f"SIG{name}"])
    assert group.end() == 0, group.said


@as_user
def test_one_that_does_not_listen(up: Start) -> None:
    """After its time, which is not the default of 5 s here, it is killed, with all that it started."""
    text = command("a", "trap '' TERM; sleep 300 & : >deaf; while :; do sleep 300; done", "stop_timeout = '6s'\n")
    group = up(text, env=None)
    assert appears(group.place / "deaf")
    began = time.monotonic()
    group.process.terminate()
    assert group.end() == 143, group.said
    assert time.monotonic() - began >= 6


@as_user
def test_a_second_interrupt(up: Start) -> None:
    """It does not wait for anybody."""
    shell = "trap '' TERM INT; : >deaf; while :; do sleep 300; done"
    group = up(command("a", shell, "stop_timeout = '300s'\n"))
    assert appears(group.place / "deaf")
    group.process.send_signal(signal.SIGINT)
    group.wait_for("stopping", "a")
    group.process.send_signal(signal.SIGINT)
    assert group.end() == 130, group.said


@as_user
def test_a_second_interrupt_of_a_stopped_launch(up: Start) -> None:
    """It goes on, so that it can end what its command started, which nobody else would without a pid namespace."""
    group = up(command("a", "sleep 300 & : >here; wait", "stop_timeout = '300s'\n"))
    assert appears(group.place / "here")
    (launch,) = filter(children, children(group.process.pid))
    os.kill(launch, signal.SIGSTOP)
    group.process.send_signal(signal.SIGINT)
    group.wait_for("stopping", "a")
    group.process.send_signal(signal.SIGINT)
    assert group.end() == 130, group.said


def test_forced_before_it_has_told(tmp_path: Path) -> None:
    """A launch that was let go may have executed its command before that is heard: it is to end the tree itself."""
    file = tmp_path / "group.toml"
    file.write_text("schema = 1\n" + command("a", "true"))
    file.chmod(0o600)
    one = member.Member(read_group(str(file)).commands[0], {})
    code = "import os, signal as s; s.signal(s.SIGALRM, lambda *_: os._exit(7)); os.write(3, b'c'); s.pause()"
    one.start((sys.executable, "-c", code))
    assert os.read(one.confined, 1) == b"c"
    one.release()
    one.force()
    one.reap()
    assert one.status == 7


def test_killed(up: Start, who: Who) -> None:
    """kill -9 of `sandrun up` leaves nothing, not even what left its session."""
    marker = f"sandrun-test-{os.getpid()}-{time.monotonic_ns()}"
    shell = f"setsid sleep 60 & (exec -a {marker} sleep 61) 2>/dev/null & wait"
    text = command("a", shell, f"env = {{MARK = '{marker}'}}\n") + command(
        "b", "sleep 60 & wait", f"env = {{M = '{marker}'}}\n"
    )
    group = up(text)
    group.wait_for("started", "b")
    until = time.monotonic() + SECONDS
    while len(left(marker)) < 4:
        assert time.monotonic() < until
        time.sleep(0.02)
    group.process.kill()
    assert gone(marker)


def test_killed_at_any_moment(up: Start) -> None:
    """Wherever the start has come to, nothing is left of it."""
    marker = f"sandrun-test-{os.getpid()}-{time.monotonic_ns()}"
    more = f"env = {{M = '{marker}'}}\n"
    shell = (
        f"setsid sleep 60 & wait; : {marker}"  # who supervises has it in the command line, so that is waited for too
    )
    text = command("a", shell, more) + command("b", shell, more + "after = ['a']\n")
    for at in range(8):
        group = up(text)
        time.sleep(at * 0.07)
        group.process.kill()
        group.process.wait()
        assert gone(marker), [lineage(pid) for pid in left(marker)]


@as_user
def test_killed_while_they_wait(up: Start) -> None:
    """A group that is killed before it lets its commands go never runs them."""
    group = up(command("a", "echo ran >ran", "after = ['b']\n") + command("b", "sleep 60", "ready = 'fd'\n"))
    group.wait_for("started", "b")
    group.process.kill()
    group.process.wait()
    time.sleep(0.5)
    assert not (group.place / "ran").exists()


# --- the log ---------------------------------------------------------------------------------------------------------


@as_user
def test_the_log(up: Start) -> None:
    """Names of one width, hostile bytes as text, the last line without its end, lines that are too long in parts."""
    text = command("a", r"printf '\033[2J\377\n'; head -c 5000 /dev/zero | tr '\0' x; echo; printf end >&2")
    group = up(text + command("longer", "true"))
    assert group.end() == 0, group.said
    lines = [line for line in group.said.splitlines() if line.startswith("a ")]
    prefix = "a      | "
    assert lines == [prefix + r"\x1b[2J\xff", prefix + "x" * 4096, prefix + "x" * 904, prefix + "end"]


def test_the_log_process_can_do_nothing(up: Start) -> None:
    """Whoever takes it over by what a command writes can neither open nor start anything. Without it the group ends."""
    need_landlock(1)
    group = up(command("a", "sleep 60"))
    group.wait_for("started", "a")
    end = time.monotonic() + SECONDS
    while not (found := set(left("group/__main__.py")) & set(children(group.process.pid))):
        assert time.monotonic() < end
        time.sleep(0.05)
    (pid,) = found
    while status_of(pid)["Seccomp"] != "2" and time.monotonic() < end:
        time.sleep(0.05)  # it reads nothing before that
    status = status_of(pid)
    assert (status["Seccomp"], status["NoNewPrivs"]) == ("2", "1")
    assert int(status["CapPrm"], 16) == int(status["CapEff"], 16) == 0
    assert status["Uid"].split()[0] != "0"
    os.kill(pid, signal.SIGKILL)
    assert group.end() == 125, group.said
    assert "the log process has ended: stopping the group" in group.said


# --- the point of it -------------------------------------------------------------------------------------------------

SERVER = """
import http.server, os, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        try:
            open("stolen", "w").close()
            said = "server wrote a file"
        except OSError as error:
            said = f"server: {error.strerror}"
        self.send_response(200)
        self.end_headers()
        self.wfile.write(said.encode())
        # The end of who reads this is the end of the group.
        os.write(int(os.environ["SANDRUN_FD_LINES"]), (said + "\\n").encode())

http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
WRITER = """
import socket, sys

for line in sys.stdin:
    try:
        socket.create_connection(("127.0.0.1", int(sys.argv[1])), 5).close()
        said = "writer used the network"
    except OSError as error:
        said = f"writer: {error.strerror}"
    with open("log", "a") as log:
        log.write(line + said + "\\n")
    break
"""


@pytest.fixture
def programs(who: Who) -> tuple[Path, str, int]:
    """A directory with both programs, an interpreter that everybody can start, and a free port."""
    python = need_program("python3")
    place = who.home / "group"
    place.mkdir()
    for name, text in (("server.py", SERVER), ("writer.py", WRITER)):
        (place / name).write_text(text)
        (place / name).chmod(0o644)
    who.own(place)
    return place, python, free_port()


def get(port: int) -> str:
    """What the server answers, once it does."""
    until = time.monotonic() + SECONDS
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), SECONDS) as connection:
                connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
                return b"".join(iter(lambda: connection.recv(4096), b"")).decode().rpartition("\r\n\r\n")[2]
        except ConnectionRefusedError:
            assert time.monotonic() < until
            time.sleep(0.05)


def test_the_control(who: Who, programs: tuple[Path, str, int]) -> None:
    """Without sandrun the server writes its file, and the writer reaches the network."""
    place, python, port = programs
    reader, writer = os.pipe()
    server = who.popen(
        [python, "server.py", str(port)],
        cwd=place,
        env=who.env | {"SANDRUN_FD_LINES": str(writer)},
        pass_fds=(writer,),
        stderr=subprocess.DEVNULL,
    )
    other = who.popen([python, "writer.py", str(port)], cwd=place, stdin=reader)
    os.close(reader)
    os.close(writer)
    try:
        assert get(port) == "server wrote a file"
        assert other.wait(SECONDS) == 0
        assert (place / "log").read_text() == "server wrote a file\nwriter used the network\n"
    finally:
        for one in (server, other):
            one.kill()
            one.wait()


def test_a_server_beside_a_writer(up: Start, who: Who, programs: tuple[Path, str, int]) -> None:
    """The server serves and cannot write files; the writer writes and cannot use the network. Both try."""
    need_landlock(4)
    place, python, port = programs
    text = f"""
status = "writer"

[command.server]
argv = ["{python}", "server.py", "{port}"]
profile = "builtin:programs"
ready = "tcp:{port}"
stderr = "null"
[command.server.filesystem]
read = ["@system", "@runtime", "server.py"]
execute = ["@system", "@runtime"]
[command.server.network]
bind = ["tcp:{port}"]

[command.writer]
argv = ["{python}", "writer.py", "{port}"]
profile = "builtin:programs"
[command.writer.filesystem]
read = ["@system", "@runtime"]
execute = ["@system", "@runtime"]
write = ["."]

[pipe.lines]
from = "server"
to = "writer:stdin"
"""
    group = up(text)
    group.wait_for("ready", "server")
    assert get(port).startswith("server: ")
    assert group.end() == 0, group.said
    first, second = (place / "log").read_text().splitlines()
    assert first in ("server: Permission denied", "server: Read-only file system")
    assert second.startswith("writer: ")
    assert second != "writer: Connection refused", "refused by the sandbox, not by a closed port"
    assert not (place / "stolen").exists()


@as_user
def test_wrong_words(who: Who) -> None:
    """A mistake in the file is told as one of a profile is, and nothing is started."""
    file = who.home / "group.toml"
    file.write_text("schema = 1\n[command.a]\nargv = ['true']\nreday = 'fd'\n")
    who.own(file)
    done = who.run([*who.sandrun, "up", file])
    assert done.returncode == 125
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        f'sandrun: {file}:4: command.a.reday: unknown key "reday"',
        'sandrun: hint: did you mean "ready"?',
    ]


@as_user
def test_too_few_descriptors(who: Who) -> None:
    """Where the limit is too low, that is what is told."""
    file = who.home / "group.toml"
    file.write_text("schema = 1\n[command.a]\nargv = ['true']\nprofile = 'strict'\n")
    who.own(file)
    for limit, status in ((128, 125), (1024, 0)):
        done = who.run(["sh", "-c", f'ulimit -n {limit}; exec "$@"', "sh", *who.sandrun, "up", file])
        assert done.returncode == status, done.stderr
        if status:
            assert done.stderr.splitlines() == [
                "sandrun: cannot run the group: Too many open files (EMFILE)",
                "sandrun: hint: allow more of them: ulimit -n 1024",
            ]


class Bound(socket.socket):
    """A socket that happens to get the very port that it connects to."""

    def connect_ex(self, address: Any) -> int:
        self.bind(address)
        return super().connect_ex(address)


def test_a_port_that_nobody_listens_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look that is connected to itself is no sign of anybody."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert member._connects(socket.AF_INET, "127.0.0.1", port)
    monkeypatch.setattr(socket, "socket", Bound)
    assert not member._connects(socket.AF_INET, "127.0.0.1", port)


@as_user
def test_dry_run(who: Who) -> None:
    """The commands in the order of their start."""
    file = who.home / "group.toml"
    text = "[command.a]\nargv = ['x', 'y']\nafter = ['b']\n[command.b]\nargv = ['z']\nprofile = ['none', 'strict']\n"
    file.write_text(f"schema = 1\n{text}")
    who.own(file)
    done = who.run([*who.sandrun, "up", "-n", file])
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "b: z (profile none, strict)\na after b: x y (profile default)\n"
