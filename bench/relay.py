"""Part `relay`: what the relay of hosts costs, beside loopback without it, in one run.

A server and two clients: one as it is, one in `sandrun --connect 127.0.0.1:PORT`. Both clients do the same in
turn, so that the drift of the machine hits both, and both stay: start-up is measured apart.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import multiprocessing
import os
import select
import signal
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

SANDRUN = str(Path(sys.prefix) / "bin" / "sandrun")
ROUNDS = 4
BULK = 1 << 30
"""Bytes of each measurement, over all streams."""
CHUNK = 1 << 20
OPENED, HELD, LAUNCHES = 2000, 500, 15
ARMS = ("direct", "relay")
LEAST = "least"
"""Beside them in bulk: a process for each stream that does nothing but splice(2) in one direction, without a sandbox.
What that does not reach cannot be reached here: each byte goes through the kernel's TCP twice."""
GOALS = {1: 60, 4: 90}
"""Streams → per cent of direct loopback."""

# --- the server: a connection says how many bytes it wants; 0 is an echo of single bytes ---


def serve(listener: socket.socket) -> None:
    """Forks for bulk, and holds any number of echoes itself."""
    poll = select.epoll()
    poll.register(listener.fileno(), select.EPOLLIN)
    held: dict[int, socket.socket] = {}
    wanted = memoryview(bytes(CHUNK))
    while True:
        for fd, _ in poll.poll():
            if fd == listener.fileno():
                sock, _ = listener.accept()
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                held[sock.fileno()] = sock
                poll.register(sock.fileno(), select.EPOLLIN)
                continue
            data = b""
            with contextlib.suppress(ConnectionResetError):
                data = held[fd].recv(64)
            if len(data) > 1:
                if not os.fork():
                    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                        for _ in range(int(data) // CHUNK):
                            held[fd].sendall(wanted)
                    os._exit(0)
            elif data:
                held[fd].send(data)
                continue
            poll.unregister(fd)
            held.pop(fd).close()
            with contextlib.suppress(ChildProcessError):
                os.waitpid(-1, os.WNOHANG)


def pass_on(listener: socket.socket, port: int) -> None:
    """The least that a relay can be: one process for a connection, and of one direction only the 32 bytes of `take`."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        near, _ = listener.accept()
        if not os.fork():
            far = socket.create_connection(("127.0.0.1", port))
            far.sendall(near.recv(32, socket.MSG_WAITALL))
            source, sink = os.pipe()
            fcntl.fcntl(sink, fcntl.F_SETPIPE_SZ, CHUNK)
            while size := os.splice(far.fileno(), sink, CHUNK):
                while size:
                    size -= os.splice(source, near.fileno(), size)
            os._exit(0)
        near.close()


# --- the client: a word on stdin, a line of JSON on stdout ---


def connect(port: int) -> socket.socket:
    """A connection that has shown that it leads to the server."""
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.send(b"x")
    if sock.recv(1) != b"x":
        raise ConnectionError("no echo")
    return sock


def take(port: int, size: int) -> None:
    """Receive so many bytes, and let them be."""
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.send(b"%032d" % size)
        buffer = bytearray(CHUNK)
        while size:
            got = sock.recv_into(buffer)
            if not got:
                raise ConnectionError("too few bytes")
            size -= got


def bulk(port: int, streams: int) -> float:
    """Seconds for BULK bytes."""
    begun = time.perf_counter()
    pids = []
    for _ in range(streams):
        pids.append(os.fork())
        if not pids[-1]:
            take(port, BULK // streams)
            os._exit(0)
    for pid in pids:
        if os.waitpid(pid, 0)[1]:
            raise ConnectionError("a stream broke")
    return time.perf_counter() - begun


def opened(port: int) -> dict[str, float]:
    """Seconds for OPENED connections, one after the other, and of one echo on one that is there."""
    begun = time.perf_counter()
    for _ in range(OPENED):
        connect(port).close()
    whole = time.perf_counter() - begun
    with connect(port) as sock:
        begun = time.perf_counter()
        for _ in range(OPENED):
            sock.send(b"x")
            sock.recv(1)
        return {"opened": whole, "echo": (time.perf_counter() - begun) / OPENED}


def client(port: int) -> None:
    """Do what stdin says."""
    print(json.dumps(port), flush=True)
    held: list[socket.socket] = []
    for line in sys.stdin:
        word, _, number = line.strip().partition(" ")
        if word == "bulk":
            answer: Any = bulk(port, int(number))
        elif word == "opened":
            answer = opened(port)
        elif word == "hold":
            held = [connect(port) for _ in range(int(number))]
            answer = len(held)
        else:
            for sock in held:
                sock.close()
            held = []
            answer = 0
        print(json.dumps(answer), flush=True)


# --- the measurement ---


class Arm:
    """A client, here or in a sandbox."""

    def __init__(self, arm: str, port: int) -> None:
        self.process = subprocess.Popen(
            words(arm, port),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parent,
        )
        self.heard()

    def heard(self) -> Any:
        """The next answer."""
        assert self.process.stdout
        return json.loads(self.process.stdout.readline())

    def ask(self, word: str) -> Any:
        """Have it do something, and return what it measured."""
        assert self.process.stdin
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()
        return self.heard()

    def relay(self) -> int:
        """The process id of the relay."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        for pid in children:
            if b"egress" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return int(pid)
        raise LookupError("no relay")

    def end(self) -> None:
        """No more words."""
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


def words(arm: str, port: int) -> list[str]:
    """This program as a client."""
    program = ["/usr/bin/python3", "-I", "-S", os.path.basename(__file__), "client", str(port)]
    return program if arm != "relay" else [SANDRUN, "-q", "--connect", f"127.0.0.1:{port}", "--", *program]


def held_by(pid: int) -> dict[str, int]:
    """How many descriptors a process has (as root only), and how much memory in KiB."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    result = {"KiB": int(status["VmRSS"].split()[0])}
    with contextlib.suppress(PermissionError):
        result["descriptors"] = len(os.listdir(f"/proc/{pid}/fd"))
    return result


def bench(port: int, passing: int, rounds: int) -> dict[str, Any]:
    """Everything, arm by arm in turn. What listens on `passing` passes on to `port`."""
    arms = {arm: Arm(arm, passing if arm == LEAST else port) for arm in (*ARMS, LEAST)}
    relay = arms["relay"].relay()
    arms["relay"].ask("hold 1")
    memory = {"before": held_by(relay)}
    arms["relay"].ask(f"hold {HELD}")
    memory["held"] = held_by(relay)
    arms["relay"].ask("drop")
    time.sleep(0.5)
    memory["after"] = held_by(relay)
    seconds: dict[str, dict[str, list[float]]] = {
        what: {arm: [] for arm in arms} for what in (*(f"bulk {streams}" for streams in GOALS), "opened", "echo")
    }
    for number in range(rounds):
        print(f"\rround {number + 1} of {rounds}", end="", file=sys.stderr, flush=True)
        for streams in GOALS:
            for arm, at_work in arms.items():
                seconds[f"bulk {streams}"][arm].append(at_work.ask(f"bulk {streams}"))
        for arm in ARMS:
            for what, value in arms[arm].ask("opened").items():
                seconds[what][arm].append(value)
    time.sleep(0.5)
    memory["at the end"] = held_by(relay)
    for arm in arms.values():
        arm.end()
    return {"seconds": seconds, "memory": memory, "start": start(port, rounds)}


def start(port: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of launches of `true`, which waits for nothing, with a host granted and without."""
    times: dict[str, list[float]] = {"no host": [], "one host": []}
    for _ in range(max(rounds, LAUNCHES)):
        for arm, taken in times.items():
            hosts = ["--connect", f"127.0.0.1:{port}"] if arm == "one host" else []
            begun = time.perf_counter()
            subprocess.run([SANDRUN, "-q", *hosts, "--", "true"], check=True, cwd=Path(__file__).parent)
            taken.append(time.perf_counter() - begun)
    print(file=sys.stderr)
    return times


def show(result: dict[str, Any]) -> None:
    """The table; bytes a second of the fastest round, since anything else on the machine only slows."""
    seconds = {
        what: {arm: min(times, default=0) for arm, times in arms.items()} for what, arms in result["seconds"].items()
    }
    for streams, goal in GOALS.items():
        direct, relay, least = (BULK / seconds[f"bulk {streams}"][arm] / 1e9 for arm in (*ARMS, LEAST))
        print(
            f"1 GiB in {streams} stream(s): direct {direct:.2f}, relay {relay:.2f}, bare splice {least:.2f} GB/s:",
            end=" ",
        )
        print(f"{100 * relay / direct:.0f} % of direct (goal: {goal}), {100 * relay / least:.0f} % of bare splice")
    for what, count, unit in (("opened", OPENED, "connection with an echo"), ("echo", 1, "echo")):
        direct, relay = (1e6 * seconds[what][arm] / count for arm in ARMS)
        print(f"one {unit}: direct {direct:.0f}, relay {relay:.0f} us")
    for when, numbers in result["memory"].items():
        print(f"the relay, {when}:", ", ".join(f"{number} {unit}" for unit, number in numbers.items()))
    for arm, times in result["start"].items():
        print(f"a launch of `true`, {arm}: {1000 * statistics.median(times):.0f} ms")


def run(quick: bool) -> dict[str, Any]:
    """Start the servers, and measure."""
    fork = multiprocessing.get_context("fork")
    listeners = [socket.create_server(("127.0.0.1", 0), backlog=4096) for _ in range(2)]
    port, passing = (listener.getsockname()[1] for listener in listeners)
    servers = [
        fork.Process(target=serve, args=(listeners[0],)),
        fork.Process(target=pass_on, args=(listeners[1], port)),
    ]
    for server in servers:
        server.start()
    try:
        return bench(port, passing, 1 if quick else ROUNDS)
    finally:
        for server in servers:
            server.terminate()


if __name__ == "__main__" and sys.argv[1:2] == ["client"]:
    client(int(sys.argv[2]))
