"""The relay as a process of a real launch: what it may, what it sees, and what its death means."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.relaying import SECONDS, listener, relay_of, status, until
from tests.support import Who, free_port, landlock_abi, need_namespaces, need_program, need_userns, sandrun

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TRY = """
import socket, sys
for target in sys.argv[1:]:
    kind, host, port = target.rsplit("/", 2)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM)
    sock.settimeout(25)
    try:
        sock.connect((host, int(port)))
        sock.send(b"hello")
        print(target, sock.recv(100).decode(), flush=True)
    except OSError as error:
        print(target, type(error).__name__, flush=True)
"""
SERVE = """
import socket, sys
sock = socket.create_server((sys.argv[1], int(sys.argv[2])), family=socket.AF_INET6 if ":" in sys.argv[1] else 2)
print("ready", flush=True)
for _ in range(2):
    accepted, peer = sock.accept()
    accepted.sendall(peer[0].encode() + b" " + accepted.recv(100))
    accepted.close()
"""


@pytest.fixture(autouse=True)
def _namespaces(who: Who) -> None:
    need_namespaces(who)
    project(who).mkdir()
    who.own(project(who))


@pytest.fixture
def outside() -> Iterator[int]:
    """The port of a TCP server on the host's loopback that answers `outside`."""
    with listener("127.0.0.1") as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    accepted, _ = server.accept()
                    with accepted:
                        accepted.recv(100)
                        accepted.sendall(b"outside")

        thread = threading.Thread(target=serve)
        server.settimeout(None)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def project(who: Who) -> Path:
    """Where the command works: the default profile does not grant a whole home."""
    return who.home / "project"


def run(who: Who, *words: str) -> subprocess.CompletedProcess[str]:
    return sandrun(*words, who=who, cwd=project(who))


def start(who: Who, *words: str, **options: Any) -> subprocess.Popen[str]:
    return who.popen([*who.sandrun, *words], cwd=project(who), text=True, **options)


def python(code: str, *words: str) -> tuple[str, ...]:
    return (need_program("python3"), "-c", code, *words)


def network(report: Path) -> dict[str, Any]:
    document = json.loads(report.read_text())
    return dict(document["outcome"]["network"])


def test_it_is_confined(who: Who, outside: int) -> None:
    """While it serves it has no capability, no way to get one, a filter, and a user without files if it was root."""
    argv = ("--connect", f"127.0.0.1:{outside}", "--", "sleep", "30")
    with start(who, *argv) as process:
        try:
            found = status(relay_of(process))
            assert {found[name] for name in ("CapEff", "CapPrm", "CapInh", "CapAmb")} == {"0" * 16}
            assert (found["NoNewPrivs"], found["Seccomp"]) == ("1", "2")
            assert found["Uid"].split() == [str(65534 if who.is_root else who.uid)] * 4
            assert found["Groups"] == ""
        finally:
            process.terminate()


def test_what_nobody_listens_for_is_recorded(who: Who, outside: int) -> None:
    """Every attempt at something else fails at once, and the report names it: what the kernel refused as well."""
    report = who.home / "report"
    targets = ("tcp/127.0.0.1/9", "tcp/169.254.169.254/80", "tcp/2001:db8::1/81", "udp/192.0.2.1/123", "udp/::1/9")
    far = f"tcp/192.0.2.1/{outside}"
    own = f"tcp/127.0.0.1/{outside}"
    grant = ("--connect", f"127.0.0.1:{outside}", "--report", str(report))
    ran = run(who, *grant, "--", *python(TRY, *targets, far, own))
    assert ran.stdout.splitlines() == [
        *(f"{target} ConnectionRefusedError" for target in targets),
        f"{far} ConnectionResetError",
        f"{own} outside",
    ], ran.stderr
    found = network(report)
    assert {(row["what"], row["target"]) for row in found["refused"]} == {
        ("connect", "127.0.0.1:9"),
        ("connect", "169.254.169.254:80"),
        ("connect", "[2001:db8::1]:81"),
        ("udp", "192.0.2.1:123"),
        ("udp", "[::1]:9"),
        ("connect", f"192.0.2.1:{outside}"),
    }
    assert [(row["endpoint"], row["sent"], row["received"]) for row in found["endpoints"]] == [
        (f"tcp:127.0.0.1:{outside}", 5, 7)
    ]


def test_its_own_servers_are_no_refusals(who: Who, outside: int) -> None:
    """A connection of the command to itself is not the relay's business."""
    report = who.home / "report"
    port = free_port()
    code = (
        "import socket\n"
        f"server = socket.create_server(('127.0.0.1', {port}))\n"
        f"client = socket.create_connection(('127.0.0.1', {port}))\n"
        "server.accept()[0].send(b'own')\n"
        "print(client.recv(9))\n"
    )
    grant = ("--connect", f"127.0.0.1:{outside}", "--bind", f"tcp:{port}", "--report", str(report))
    ran = run(who, *grant, "--", *python(code))
    assert ran.stdout == "b'own'\n", ran.stderr
    assert network(report)["refused"] == []


def test_refusals_are_told_at_once(who: Who, outside: int) -> None:
    """With -v there is a line for each new one while the command runs."""
    far = f"tcp/192.0.2.1/{outside}"
    ran = run(who, "-v", "--connect", f"127.0.0.1:{outside}", "--", *python(TRY, far, far))
    line = f"sandrun: refused: connect 192.0.2.1:{outside} (not granted)"
    assert ran.stderr.splitlines().count(line) == 1, ran.stderr


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_datagrams(who: Who, outside: int, address: str) -> None:
    """UDP to a granted address, of either family, is answered from that address: the client's socket is connected."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as server:
        try:
            server.bind((address, 0))
        except OSError:
            pytest.skip(f"no {address} here")
        server.settimeout(SECONDS)
        port = server.getsockname()[1]

        def serve() -> None:
            data, peer = server.recvfrom(100)
            server.sendto(data + b" yourself", peer)

        thread = threading.Thread(target=serve)
        thread.start()
        shown = f"[{address}]" if ":" in address else address
        grant = ("--connect", f"udp:{shown}:{port}", "--connect", f"127.0.0.1:{outside}")
        ran = run(who, *grant, "--", *python(TRY, f"udp/{address}/{port}"))
        thread.join()
    assert ran.stdout == f"udp/{address}/{port} hello yourself\n", ran.stderr


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_published_ports(who: Who, outside: int, address: str) -> None:
    """A server of the command is reached on both loopback addresses of the host, wherever it listens on its own."""
    port = free_port()
    report = who.home / "report"
    grant = ("--connect", f"127.0.0.1:{outside}", "--bind", f"tcp:{port}", "--report", str(report))
    argv = (*grant, "--", *python(SERVE, address, str(port)))
    with start(who, *argv, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        for host in ("127.0.0.1", "::1"):
            with socket.create_connection((host, port), SECONDS) as client:
                client.sendall(b"hello")
                assert client.recv(100) == f"{address} hello".encode()
        assert process.wait(SECONDS) == 0
    found = network(report)
    assert found["published"] == [{"port": port, "connections": 2}]
    assert found["refused"] == []


def test_a_published_port_without_a_server(who: Who, outside: int) -> None:
    """The client on the host is reset, and it is no refusal of the command's."""
    port = free_port()
    grant = ("--connect", f"127.0.0.1:{outside}", "--bind", f"tcp:{port}")
    with start(who, *grant, "--", "sleep", "30", stderr=subprocess.PIPE) as process:
        try:
            relay_of(process)
            with pytest.raises(ConnectionResetError), socket.create_connection(("127.0.0.1", port), SECONDS) as client:
                client.recv(1)
        finally:
            process.terminate()


def test_its_death_is_the_end_of_the_network(who: Who, outside: int) -> None:
    """Killed, it takes every socket with it: connections are refused, and the report says that it is not complete."""
    report = who.home / "report"
    own = f"tcp/127.0.0.1/{outside}"
    code = f"{TRY}\ninput()\nsys.argv[1:] = sys.argv[1:]\nexec(again)\n".replace("import socket, sys", "", 1)
    script = f"import socket, sys\nagain = {TRY!r}\n{code}"
    grant = ("--connect", f"127.0.0.1:{outside}", "--report", str(report))
    argv = (*grant, "--", *python(script, own))
    with start(who, *argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"{own} outside\n"
        relay = relay_of(process)
        os.kill(relay, signal.SIGKILL)
        assert until(lambda: status(relay).get("State", "Z")[0] == "Z")
        out, err = process.communicate("\n", SECONDS)
    assert out == f"{own} ConnectionRefusedError\n", err
    assert network(report)["complete"] is False


def test_the_command_cannot_reach_it(who: Who, outside: int) -> None:
    """Not by signals, not by its memory, and not by a descriptor that it left; even where it sees the host's /proc."""
    need_program("python3")
    code = (
        "import os\n"
        "pids = [int(name) for name in os.listdir('/proc') if name.isdecimal() and name != os.readlink('/proc/self')]\n"
        "seen = []\n"
        "for pid in pids:\n"
        "    try:\n"
        "        with open(f'/proc/{pid}/cmdline') as file:\n"
        "            if '__main__.py' in file.read(): seen.append(pid)\n"
        "    except OSError: pass\n"
        "for pid in seen:\n"
        "    for act in (lambda: os.kill(pid, 0), lambda: open(f'/proc/{pid}/mem', 'rb')):\n"
        "        try: act()\n"
        "        except OSError: pass\n"
        "        else: print('reached', pid)\n"
        "print('open', [fd for fd in range(3, 4096) if os.path.lexists(f'/proc/self/fd/{fd}')])\n"
    )
    grant = ("--connect", f"127.0.0.1:{outside}", "--read", "/proc")
    ran = run(who, *grant, "--", *python(code))
    if landlock_abi() < 6 and "reached" in ran.stdout:
        pytest.skip("signals are scoped from Landlock ABI 6 on")
    assert ran.stdout == "open []\n", ran.stderr


def test_late_answers_are_no_refusals(who: Who, outside: int) -> None:
    """A program that asks the name server and goes away before the answer is there tried nothing that is forbidden."""
    report = who.home / "report"
    code = (
        "import socket, time\n"
        "query = bytes.fromhex('0001010000010000000000000461616161047465737400') + bytes((0, 1, 0, 1))\n"
        "for _ in range(20):\n"
        "    with socket.socket(type=socket.SOCK_DGRAM) as sock: sock.sendto(query, ('127.0.0.1', 53))\n"
        "with socket.socket(type=socket.SOCK_DGRAM) as sock:\n"
        "    sock.settimeout(25)\n"
        "    sock.sendto(query, ('127.0.0.1', 53))\n"
        "    sock.recv(512)\n"  # the others were answered before
        "time.sleep(0.5)\n"
    )
    run(who, "--connect", f"127.0.0.1:{outside}", "--report", str(report), "--", *python(code))
    assert [(row["what"], row["target"]) for row in network(report)["refused"]] == [("name", "aaaa.test")]


def test_root_of_a_user_namespace(who: Who, outside: int) -> None:
    """Where nobody has no id, as in a namespace of `unshare --map-root-user`, the relay works all the same."""
    need_userns()
    own = f"tcp/127.0.0.1/{outside}"
    argv = ["unshare", "--user", "--map-root-user", *who.sandrun, "--connect", f"127.0.0.1:{outside}", "--"]
    ran = who.run([*argv, *python(TRY, own)], cwd=project(who))
    assert (ran.stdout, ran.stderr) == (f"{own} outside\n", "")
