"""Hosts by name in a whole launch: datagrams, published ports, and what is left when one of the processes is gone."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests import support
from tests.integration import internet
from tests.integration.relaying import SECONDS, relay_of, until

if TYPE_CHECKING:
    from collections.abc import Iterator

GRANT = ("--connect", "allowed.test:80")
PORT = 8080
SERVE = f"""
import socket
server = socket.create_server(("127.0.0.1", {PORT}))
print("ready", flush=True)
while True:
    accepted, _ = server.accept()
    accepted.sendall(b"inside")
    accepted.close()
"""
ECHO = """
import socket, sys
for name, port in (("allowed.test", 9999), ("other.test", 9999), ("allowed.test", 9998)):
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.settimeout(30)
        try:
            sock.connect((name, port))
            sock.send(b"hello")
            print(sock.recv(100).decode())
        except OSError as error:
            print(type(error).__name__)
"""

BULK = """
import hashlib, os, socket, threading
sock = socket.create_connection(("allowed.test", 80))
sent, received = hashlib.sha256(), hashlib.sha256()

def send():
    for _ in range(32):
        block = os.urandom(1 << 20)
        sent.update(block)
        sock.sendall(block)
    sock.shutdown(socket.SHUT_WR)

thread = threading.Thread(target=send)
thread.start()
while data := sock.recv(1 << 20):
    received.update(data)
thread.join()
print(sent.hexdigest() == received.hexdigest())
"""


@pytest.fixture
def net(who: support.Who, tmp_path: Path) -> Iterator[internet.Internet]:
    internet.need_internet()
    (who.home / "project").mkdir()
    who.own(who.home / "project")
    with internet.made(tmp_path) as net:
        yield net


def start(net: internet.Internet, who: support.Who, *words: str, **options: Any) -> subprocess.Popen[str]:
    user = net.who(who)
    return user.popen([*user.sandrun, *words], cwd=who.home / "project", text=True, **options)


def python(code: str) -> tuple[str, ...]:
    return (support.need_program("python3"), "-c", code)


def document(report: Path) -> dict[str, Any]:
    return dict(json.loads(report.read_text())["outcome"]["network"])


def dial(net: internet.Internet, address: str = "127.0.0.1") -> bytes:
    """What somebody on the machine gets from the published port."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with internet.within(net.machine, lambda: socket.socket(family)) as client:
        client.settimeout(SECONDS)
        client.connect((address, PORT))
        return client.recv(100)


def test_bulk(who: support.Who, net: internet.Internet) -> None:
    """Much data both ways at once arrives whole, through a relay that is confined as in every launch."""

    def echo(connection: socket.socket) -> None:
        while data := connection.recv(1 << 20):
            connection.sendall(data)

    net.serve(internet.ALLOWED, 80, echo)
    report = who.home / "report"
    with start(net, who, *GRANT, "--report", str(report), "--", *python(BULK), stdout=subprocess.PIPE) as process:
        assert process.communicate(timeout=60)[0] == "True\n"
    (row,) = document(report)["endpoints"]
    assert row["sent"] == row["received"] == 32 << 20


def test_datagrams_to_a_name(who: support.Who, net: internet.Internet) -> None:
    """UDP is answered by the granted name on the granted port, and by nobody else."""
    for address in (internet.ALLOWED, internet.OTHER):
        net.echo(address, 9999)
    net.echo(internet.ALLOWED, 9998)
    report = who.home / "report"
    flags = ("--connect", "udp:allowed.test:9999", "--report", str(report))
    with start(net, who, *flags, "--", *python(ECHO), stdout=subprocess.PIPE) as process:
        out, _ = process.communicate(timeout=SECONDS)
    assert out.splitlines() == ["hello", "gaierror", "ConnectionRefusedError"]
    assert net.met == [f"{internet.ALLOWED}:9999"]
    found = document(report)
    (row,) = found["endpoints"]
    assert (row["endpoint"], row["sent"], row["received"]) == ("udp:allowed.test:9999", 5, 5)
    assert {(row["what"], row["target"]) for row in found["refused"]} == {
        ("name", "other.test"),
        ("udp", "allowed.test:9998"),
    }


def test_a_published_port_ends_with_the_run(who: support.Who, net: internet.Internet) -> None:
    """A server inside is reached on the machine's loopback alone, while it runs and no longer."""
    flags = (*GRANT, "--bind", f"tcp:{PORT}", "--")
    with start(net, who, *flags, *python(SERVE), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        assert dial(net) == dial(net, "::1") == b"inside"
        with pytest.raises(ConnectionRefusedError):
            dial(net, internet.MACHINE)
        process.terminate()
        process.wait(SECONDS)
        for address in ("127.0.0.1", "::1"):
            with pytest.raises(ConnectionRefusedError):
                dial(net, address)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_taken_port(address: str, who: support.Who, net: internet.Internet) -> None:
    """A port that another program of the machine has cannot be published: the command does not start."""
    taken = internet.within(net.machine, lambda: socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET))
    with taken:
        taken.bind((address, PORT))
        taken.listen()
        flags = (*GRANT, "--bind", f"tcp:{PORT}", "--", "echo", "started")
        with start(net, who, *flags, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            out, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, out) == (125, "")
    assert f"cannot publish port {PORT}" in err


def test_a_killed_supervisor_leaves_nothing(who: support.Who, net: internet.Internet) -> None:
    """Neither the relay, nor the dialer of published ports, nor the command; and the port is free again."""
    # The default profile's private temporary directory would have nobody left to remove it.
    flags = ("-p", "none", "-x", "@system", *GRANT, "--bind", f"tcp:{PORT}", "--")
    before = support.descendants()
    with start(net, who, *flags, *python(SERVE), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        relay = relay_of(process)
        (dialer,) = support.descendants(relay)
        process.send_signal(signal.SIGKILL)
        process.wait(SECONDS)
        assert not support.left_since(before, SECONDS)
        assert not any(map(_runs, (relay, dialer)))
        with pytest.raises(ConnectionRefusedError):
            dial(net)


def test_a_killed_relay_opens_nothing(who: support.Who, net: internet.Internet) -> None:
    """Without its relay the command has no network at all: no allowed name, no address, no lookups, no published port."""
    net.tell(internet.ALLOWED, internet.OTHER, "127.0.0.1")
    code = (
        "import socket\n"
        "def attempt(host):\n"
        "    try:\n"
        "        with socket.create_connection((host, 80), 30) as sock: print(len(sock.recv(100)) > 0, flush=True)\n"
        "    except OSError as error: print(type(error).__name__, flush=True)\n"
        f"for host in ('allowed.test', '{internet.OTHER}', '127.0.0.1', 'other.test'):\n"
        "    attempt(host)\n"
        "input()\n"
        f"for host in ('allowed.test', '{internet.ALLOWED}', '{internet.OTHER}', '127.0.0.1', 'other.test'):\n"
        "    attempt(host)\n"
    )
    report = who.home / "report"
    flags = (*GRANT, "--bind", f"tcp:{PORT}", "--report", str(report), "--")
    with start(net, who, *flags, *python(code), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        first = [process.stdout.readline().strip() for _ in range(4)]
        assert first == ["True", "ConnectionResetError", "ConnectionResetError", "gaierror"]
        relay = relay_of(process)
        helpers = support.descendants(relay)
        os.kill(relay, signal.SIGKILL)
        assert until(lambda: not support.descendants(relay) and not any(_runs(pid) for pid in helpers))
        out, _ = process.communicate("\n", SECONDS)
    assert out.splitlines() == [*["ConnectionRefusedError"] * 4, "gaierror"]
    assert net.met == [f"{internet.ALLOWED}:80"]
    assert document(report)["complete"] is False


def _runs(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
