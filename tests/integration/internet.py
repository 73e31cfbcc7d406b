"""A small internet of two network namespaces, for programs that reach hosts by name through a whole sandrun.

The machine of `Internet.who(...)` has a loopback interface with services of its own, an address, and a name server on
the far side of a wire. There live the hosts that names lead to, at ordinary public addresses, beside some that are not.
The sandbox under test is the ordinary one: nothing of it knows that this internet is a small one.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import dns.flags
import dns.message
import dns.rcode
import dns.rrset

from sandrun import libc
from tests.probes import inside
from tests.support import Who, need, need_program, need_root, need_userns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from tests.escape.outside import Outside

MACHINE = "93.184.216.1"
ALLOWED, OTHER, RESOLVER = "93.184.216.34", "93.184.216.35", "93.184.216.53"
ALLOWED6 = "2606:2800:220::34"
METADATA, PRIVATE = "169.254.169.254", "10.1.2.3"
NAMES = {
    "allowed.test": (ALLOWED,),
    "allowed6.test": (ALLOWED6,),
    "other.test": (OTHER,),
    "machine.test": (MACHINE,),
    "private.test": (PRIVATE,),
    "metadata.test": (METADATA,),
    "loopback.test": ("127.0.0.1",),
    "mapped.test": ("::ffff:127.0.0.1", f"::ffff:{PRIVATE}"),
    "zero.test": ("0.0.0.0",),
}
"""What the name server says; names below `turning.test` are at another place each time they are asked for."""
SECONDS = 60.0
_ENTER = 'cd "$1" || exit 99; shift; exec "$@"'
_MACHINE = """
set -e
mount --bind "$1/resolv.conf" /etc/resolv.conf
mount --bind "$1/nsswitch.conf" /etc/nsswitch.conf
mount --bind "$1/hosts" /etc/hosts
exec sleep 3600
"""
_WIRE = f"""
link set lo up
addr add {MACHINE}/24 dev wire
addr add 2606:2800:220::1/64 dev wire nodad
link set wire up
route add default via 93.184.216.254
"""
_WORLD = f"""
link set lo up
addr add {METADATA}/32 dev lo
addr add {PRIVATE}/32 dev lo
addr add 93.184.216.254/24 dev wire
addr add {ALLOWED}/24 dev wire
addr add {OTHER}/24 dev wire
addr add {RESOLVER}/24 dev wire
addr add {ALLOWED6}/64 dev wire nodad
link set wire up
"""
_FILES = {
    "resolv.conf": f"nameserver {RESOLVER}\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
    "hosts": "127.0.0.1 localhost\n::1 localhost\n",
}


@dataclass(frozen=True)
class Resident(Who):
    """A user whose programs run on the machine of a small internet."""

    entrance: tuple[str, ...] = ()

    def popen(self, argv: Sequence[str | bytes | Path], **options: Any) -> subprocess.Popen[Any]:
        options.setdefault("env", self.env)
        cwd = options.pop("cwd", self.home)
        ids = ["--reuid", str(self.uid), "--regid", str(self.gid), "--clear-groups"]
        drop = [] if self.is_root else ["setpriv", *ids, "--"]
        enter = [*self.entrance, "sh", "-c", _ENTER, "sh", str(cwd)]
        outer = Who("root", 0, 0, self.home, self.tmp)
        return outer.popen([*enter, *drop, *argv], cwd="/", **options)


@dataclass
class Internet:
    """Both namespaces, by the processes that keep them, and what was seen there."""

    machine: int
    world: int
    asked: list[str] = field(default_factory=list)
    """The names that the name server was asked for, in order."""
    met: list[str] = field(default_factory=list)
    """Where connections and datagrams came in, as ADDRESS:PORT."""
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def who(self, who: Who) -> Resident:
        """This user, on the machine."""
        entrance = ("nsenter", "--target", str(self.machine), "--net", "--mount")
        return Resident(who.name, who.uid, who.gid, who.home, who.tmp, entrance)

    def listen(self, address: str, port: int, kind: int = socket.SOCK_STREAM) -> socket.socket:
        """A bound socket, on the machine if the address is one of its own, else in the world; listening if it can."""
        pid = self.machine if address.startswith("127.") or address in (MACHINE, "::1") else self.world
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        sock = within(pid, lambda: socket.socket(family, kind))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address, port))
        if kind == socket.SOCK_STREAM:
            sock.listen(100)
        self._stack.callback(sock.close)
        return sock

    def serve(self, address: str, port: int, talk: Callable[[socket.socket], None]) -> None:
        """A TCP server: `talk` gets each connection, in a thread of its own."""
        server = self.listen(address, port)

        def one(connection: socket.socket) -> None:
            # A client that goes away is no failure of the server's.
            with connection, contextlib.suppress(OSError):
                connection.settimeout(SECONDS)
                talk(connection)

        def run() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    self.met.append(f"{address}:{port}")
                    threading.Thread(target=one, args=(connection,), daemon=True).start()

        self._thread(run, lambda: server.shutdown(socket.SHUT_RDWR))

    def tell(self, *addresses: str, port: int = 80, text: str = inside.SECRET) -> None:
        """TCP servers that say this at once."""
        for address in addresses:
            self.serve(address, port, lambda connection: connection.sendall(text.encode()))

    def echo(self, address: str, port: int) -> None:
        """A UDP server that answers each datagram with the same."""
        server = self.listen(address, port, socket.SOCK_DGRAM)

        def answer(data: bytes) -> bytes:
            self.met.append(f"{address}:{port}")
            return data

        self._datagrams(server, answer)

    def resolve(self) -> None:
        """Start the name server."""
        self._datagrams(self.listen(RESOLVER, 53, socket.SOCK_DGRAM), self._look_up)
        self.serve(RESOLVER, 53, self._look_up_by_tcp)

    def close(self) -> None:
        """End all servers."""
        self._stack.close()

    def _look_up_by_tcp(self, connection: socket.socket) -> None:
        with connection.makefile("rwb") as file:
            while size := file.read(2):
                answer = self._look_up(file.read(int.from_bytes(size, "big")))
                file.write(len(answer).to_bytes(2, "big") + answer)
                file.flush()

    def _look_up(self, query: bytes) -> bytes:
        asked = dns.message.from_wire(query)
        answer = dns.message.make_response(asked, recursion_available=True)
        question = asked.question[0]
        name, kind = question.name.to_text(omit_final_dot=True).lower(), question.rdtype
        self.asked.append(name)
        addresses = NAMES.get(name)
        if name.endswith("turning.test"):
            turn = self.asked.count(name) % 4  # IPv4 and IPv6 are asked for in pairs
            addresses = ("127.0.0.1",) if turn in (3, 0) else (ALLOWED,)
        if addresses is None:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        found = [text for text in addresses or () if kind == (28 if ":" in text else 1)]
        if found:
            answer.answer.append(dns.rrset.from_text_list(question.name, 0, "IN", "AAAA" if kind == 28 else "A", found))
        return answer.to_wire()

    def _datagrams(self, server: socket.socket, answer: Callable[[bytes], bytes]) -> None:
        over = threading.Event()

        def run() -> None:
            server.settimeout(0.1)
            while not over.is_set():
                with contextlib.suppress(TimeoutError):
                    data, client = server.recvfrom(4096)
                    server.sendto(answer(data), client)

        self._thread(run, over.set)

    def _thread(self, run: Callable[[], None], end: Callable[[], None]) -> None:
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        self._stack.callback(thread.join, SECONDS)
        self._stack.callback(end)


def need_internet() -> None:
    """Such an internet can be made here, and by an ordinary user on it a sandbox with a relay."""
    need_root()
    need_userns()
    for program in ("ip", "nsenter", "unshare", "setpriv"):
        need_program(program)
    done = subprocess.run(["unshare", "--net", "ip", "link", "add", "name", "v0", "type", "veth"], capture_output=True)
    need(done.returncode == 0, "this kernel has no veth devices")


@contextlib.contextmanager
def made(folder: Path) -> Iterator[Internet]:
    """An internet with its name server; `folder` takes the machine's files. Only root can make one."""
    for name, text in _FILES.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o644)
    with (
        _keeper("--net", "--", "sleep", "3600") as world,
        _keeper("--net", "--mount", "--propagation", "private", "--", "sh", "-c", _MACHINE, "sh", folder) as machine,
    ):
        wire = f"link add name wire type veth peer name wire netns {world}"
        _ip(machine, wire + _WIRE)
        _ip(world, _WORLD)
        internet = Internet(machine, world)
        try:
            internet.resolve()
            yield internet
        finally:
            internet.close()


def around(out: Outside) -> Internet:
    """Let an escape attempt and its control run on the machine of an internet."""
    net: Internet = out.keep(made(out.directory(out.box / "machine")))
    out.who = net.who(out.who)
    out.kept = net
    return net


@contextlib.contextmanager
def _keeper(*words: str | Path) -> Iterator[int]:
    """A process that keeps its namespaces while the block lasts."""
    with subprocess.Popen(["unshare", *words], stdin=subprocess.DEVNULL) as process:
        try:
            end = time.monotonic() + SECONDS
            while _name(process.pid) != "sleep":
                assert process.poll() is None, "no namespace"
                assert time.monotonic() < end
                time.sleep(0.005)
            yield process.pid
        finally:
            process.kill()


def _name(pid: int) -> str:
    with open(f"/proc/{pid}/comm") as file:
        return file.read().strip()


def _ip(pid: int, lines: str) -> None:
    argv = ["nsenter", "--target", str(pid), "--net", "ip", "-batch", "-"]
    subprocess.run(argv, input=lines.encode(), check=True)


def within(pid: int, make: Callable[[], socket.socket]) -> socket.socket:
    """What `make` returns in the network namespace of this process: a socket stays in that where it was made."""
    result: list[socket.socket] = []

    def enter() -> None:
        namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
        try:
            libc.setns(namespace, libc.CLONE_NEWNET)
            result.append(make())
        finally:
            os.close(namespace)

    # A thread of its own, which ends in that namespace: the others stay where they are.
    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    return result[0]
