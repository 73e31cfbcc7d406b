"""A relay in a thread of the test, on loopback sockets instead of a namespace's: it does not know the difference.

The command's side connects to 127.64.1.1, which stands for `allowed.test`; outside, that name is at 127.0.0.2.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING, Any, Self

from sandrun.egress import relay, resolver, rules
from sandrun.plan.format import Plan
from tests.support import descendants

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

NAME, INSIDE, OUTSIDE = "allowed.test", "127.64.1.1", "127.0.0.2"
SECONDS = 60.0
"""How long a test waits for anything."""


def number(address: str) -> int:
    return int.from_bytes(socket.inet_aton(address), "big")


def rule(host: str, port: int, *, kind: str = "name", protocol: int = 6) -> tuple[int, int, bytes, bytes]:
    return protocol, port << 16 | port, kind.encode(), host.encode()


class Served:
    """The relay of a `with` block. `port` is granted for `NAME`; `inside` listens on it for the command."""

    def __init__(self, *more: tuple[int, int, bytes, bytes], **options: Any) -> None:
        self.outside = listener(OUTSIDE, options.pop("port", 0))
        self.port = self.outside.getsockname()[1]
        addresses = options.pop("addresses", [INSIDE])
        inside = [listener(address, self.port) for address in addresses]
        self.descriptors = options.pop("descriptors", 1 << 16)
        self.said: list[str] = []
        hosts = {NAME: (OUTSIDE,), **options.pop("hosts", {})}
        self.asked: list[str] = []

        def look_up(name: str) -> tuple[rules.Found, ...]:
            self.asked.append(name)
            return tuple(rules.Found(address, own=False) for address in hosts[name])

        fields: dict[str, Any] = {
            "relay_rules": (rule(NAME, self.port), *more),
            "relay_names": ((number(INSIDE), 0, NAME.encode(), b""),),
            "relay_private": (b"127.0.0.0/8",),
            **options.pop("fields", {}),
        }
        self.sockets = relay.Sockets(listeners=inside, **options)
        self.plan = Plan(**fields)
        self.resolver: resolver.Resolver[relay.Asked] = resolver.Resolver(look_up)
        self.control, self._far_control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._thread = threading.Thread(target=self._run)
        self.document: dict[str, Any] = {}
        self.failure: BaseException | None = None
        self._relay: relay.Relay | None = None

    def _run(self) -> None:
        try:
            at_work = relay.Relay(
                self.plan, self.sockets, self.resolver, say=self.said.append, descriptors=self.descriptors
            )
            self._relay = at_work
            at_work.run(self._far_control)
            self.document = at_work.record.document()
        except BaseException as error:  # noqa: BLE001  (any bug of the relay is a failure of the test)
            self.failure = error

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def end(self) -> dict[str, Any]:
        """End the relay and return its record."""
        if self._thread.is_alive() or not self.document:
            with contextlib.suppress(OSError):
                self.control.send(b"end")
            self._thread.join(SECONDS)
            assert not self._thread.is_alive()
            assert self.failure is None, self.failure
        return self.document

    def __exit__(self, *_: object) -> None:
        try:
            self.end()
        finally:
            for sock in (self.outside, self.control, self._far_control, *self.sockets.listeners):
                sock.close()

    def connect(self, address: str = INSIDE) -> socket.socket:
        """A connection of the command."""
        client = socket.create_connection((address, self.port), SECONDS)
        client.settimeout(SECONDS)
        return client

    def pair(self) -> tuple[socket.socket, socket.socket]:
        """Both ends of a connection through the relay: the command's and the server's."""
        client = self.connect()
        server, _ = self.outside.accept()
        server.settimeout(SECONDS)
        return client, server

    def flows(self) -> int:
        """How many connections the relay has open."""
        return len(self._relay._flows) if self._relay else 0

    def endpoint(self) -> dict[str, Any]:
        """The counters of the one endpoint that was used."""
        (row,) = self.end()["endpoints"]
        return dict(row)


def listener(address: str, port: int = 0) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((address, port))
    sock.listen(4096)
    sock.settimeout(SECONDS)
    return sock


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def whole(sock: socket.socket) -> bytes:
    """What comes until the end of data."""
    parts = []
    while part := sock.recv(1 << 16):
        parts.append(part)
    return b"".join(parts)


def until(condition: Callable[[], bool]) -> bool:
    """Whether the condition comes true in time."""
    end = time.monotonic() + SECONDS
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


@contextlib.contextmanager
def nothing_left() -> Iterator[None]:
    """The block leaves no open descriptor and no thread."""
    before = set(os.listdir("/proc/self/fd"))
    threads = threading.active_count()
    yield
    assert until(lambda: threading.active_count() <= threads)
    left = {fd: os.readlink(f"/proc/self/fd/{fd}") for fd in set(os.listdir("/proc/self/fd")) - before if _is_open(fd)}
    assert not left


def _is_open(fd: str) -> bool:
    return os.path.lexists(f"/proc/self/fd/{fd}")


def relay_of(process: subprocess.Popen[Any]) -> int:
    """The process id of the relay that belongs to a running sandrun, once it is confined."""
    found: list[int] = []

    def look() -> bool:
        pids = [pid for pid in descendants(process.pid) if b"egress/__main__.py" in _read(pid, "cmdline")]
        # The dialer of published ports is a child of it.
        found[:] = [pid for pid in pids if status(pid).get("PPid") not in map(str, pids)]
        return len(found) == 1 and status(found[0]).get("Seccomp") == "2"

    assert until(look), found
    return found[0]


def _read(pid: int, name: str) -> bytes:
    try:
        with open(f"/proc/{pid}/{name}", "rb") as file:
            return file.read()
    except OSError:
        return b""


def status(pid: int) -> dict[str, str]:
    lines = _read(pid, "status").decode().splitlines()
    return {name: " ".join(value.split()) for name, _, value in (line.partition(":") for line in lines)}
