"""Servers in a sandbox: nginx under wrk with the network only, and one process that receives and writes beside two
confined ones, of which one may only receive and the other may only write."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from bench.timing import SANDRUN, TOP, compare, environment, take_turns

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

BASE = "bare"
UNITS = {"nginx": "requests/s", "split": "MB/s"}
SECONDS, CONNECTIONS = 2, 32
"""Of wrk, for each arm and round."""
BULK = 256 << 20
PATIENCE = 15.0
"""Seconds until a server must answer."""
_CONFIGURATION = """
daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{ access_log off; keepalive_requests 1000000; sendfile on;
 client_body_temp_path {folder}/t; proxy_temp_path {folder}/t; fastcgi_temp_path {folder}/t; uwsgi_temp_path {folder}/t;
 scgi_temp_path {folder}/t;
 server {{ listen 127.0.0.1:{port}; root {folder}/www; open_file_cache max=16; }} }}
"""


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _connect(port: int) -> socket.socket:
    """A connection to a server that is about to be there.

    Raises:
        ConnectionRefusedError: it is not there after PATIENCE seconds.
    """
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port))
        except ConnectionRefusedError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)


@contextlib.contextmanager
def _running(words: Sequence[str], env: dict[str, str]) -> Iterator[None]:
    process = subprocess.Popen(words, env=env, stdin=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def _wrk(port: int, seconds: int) -> float:
    words = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", f"http://127.0.0.1:{port}/"]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    found = re.search(r"Requests/sec:\s+([0-9.]+)", done.stdout)
    if not found or "Non-2xx" in done.stdout:
        raise RuntimeError(f"wrk: {done.stdout}")
    return float(found[1])


def nginx(home: Path, rounds: int) -> dict[str, Any]:
    """Requests a second of one worker, answered from a small file; wrk is outside of any sandbox."""
    env = environment(str(home))
    folder = home / "project" / "nginx"
    (folder / "www").mkdir(parents=True)
    (folder / "www" / "index.html").write_text("x" * 1024)
    arms = {}
    with contextlib.ExitStack() as stack:
        for name in (BASE, "sandrun, network only", "sandrun default and a port"):
            port = _free_port()
            file = folder / f"{port}.conf"
            file.write_text(_CONFIGURATION.format(folder=folder, port=port))
            server = ["/usr/sbin/nginx", "-e", str(folder / "error.log"), "-c", str(file)]
            everything = ("-p", "none", "--isolate", "false", "-x", "/", "-w", ".", "-w", "@devices")
            wrapper = {
                "sandrun, network only": [SANDRUN, "-q", *everything, "--bind", f"tcp:{port}", "--"],
                "sandrun default and a port": [SANDRUN, "-q", "--bind", f"tcp:{port}", "--"],
            }.get(name, [])
            stack.enter_context(_running([*wrapper, *server], env))
            _connect(port).close()
            arms[name] = partial(_wrk, port, SECONDS if rounds > 1 else 1)
        return compare(take_turns(arms, rounds, "nginx"), BASE)


def _received(words: Sequence[str], port: int, env: dict[str, str], target: Path) -> float:
    """MB a second until everything that is sent to a new server is in the file."""
    process = subprocess.Popen(words, env=env, stdin=subprocess.DEVNULL)
    with _connect(port) as sock:
        began = time.perf_counter()
        chunk = memoryview(bytes(1 << 16))
        for _ in range(BULK // len(chunk)):
            sock.sendall(chunk)
    if process.wait() or target.stat().st_size != BULK:
        raise RuntimeError(f"not everything arrived in {target}")
    took = time.perf_counter() - began
    target.unlink()
    return BULK / took / 1e6


def split(home: Path, rounds: int) -> dict[str, Any]:
    """One process that receives and writes: bare, confined, and split into two that may do one of it each."""
    env = environment(str(home))
    folder = home / "project" / "split"
    (folder / "data").mkdir(parents=True)
    program = folder / "receive.py"
    program.write_text((TOP / "bench" / "receive.py").read_text())
    target = folder / "data" / "out"
    quiet = f"{SANDRUN} -q -p default --isolate signals"

    def arm(name: str) -> float:
        port = _free_port()
        python = "/usr/bin/python3 -I -S"
        both = f"exec {python} {program} {port} {target}"
        shell = {
            BASE: both,
            "sandrun, one process": f"exec {quiet} --bind tcp:{port} -w {target.parent} -- {both.removeprefix('exec ')}",
            "sandrun, two processes": f"{quiet} --bind tcp:{port} -r {folder} -- {python} {program} {port} -"
            f" | {quiet} -w {target.parent} -- {python} {program} - {target}",
        }[name]
        return _received(["sh", "-c", shell], port, {**env, "PWD": os.getcwd()}, target)

    names = (BASE, "sandrun, one process", "sandrun, two processes")
    return compare(take_turns({name: partial(arm, name) for name in names}, rounds, "split"), BASE)
