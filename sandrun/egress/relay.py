"""The relay at work: who is let through to where, and what becomes of it.

One thread and one loop; only lookups of names have threads of their own. Nothing here depends on where the sockets come
from: the local address of a connection is where the command wanted to go.
"""

from __future__ import annotations

import errno
import ipaddress
import os
from typing import TYPE_CHECKING, NamedTuple

from sandrun.egress import dial, dns, flow, names, publish, record, rules, witness
from sandrun.egress import loop as loops
from sandrun.egress.datagrams import Datagrams
from sandrun.egress.responder import Responder

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from sandrun.egress.resolver import Answer, Resolver
    from sandrun.plan.format import Plan

    Found = Callable[[tuple[str, ...], record.Counters], None]
    Missed = Callable[[str], None]

MOST_CONNECTIONS = 1024
MOST_PIPES = 64
END_SECONDS = 1.0
"""How long bytes that the command sent before its end may take to be gone."""
_ACCEPT_BURST = 64
_PAUSE_SECONDS = 0.1
_SHORTAGE = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_RESERVE = 512
"""Descriptors for what is neither a connection nor a pipe: lookups, flows of UDP, the responder."""


class Sockets(NamedTuple):
    """What came from the command's network namespace, and the listeners of the published ports on the host."""

    listeners: Sequence[socket.socket] = ()
    datagrams: Sequence[socket.socket] = ()
    dns: socket.socket | None = None
    dns_listener: socket.socket | None = None
    witness: socket.socket | None = None
    published: Sequence[socket.socket] = ()


class Asked(NamedTuple):
    """A lookup under way: what to do when it is over."""

    protocol: int
    name: str
    port: int
    endpoint: str
    found: Found
    missed: Missed


class Relay:
    """Serves `sockets` by the plan's rules until it is told to end; `descriptors` is how many may be open (RLIMIT_NOFILE)."""

    def __init__(
        self,
        plan: Plan,
        sockets: Sockets,
        resolver: Resolver[Asked],
        *,
        say: Callable[[str], None] | None = None,
        dialer: publish.Dialer | None = None,
        descriptors: int = 1 << 16,
    ) -> None:
        self.record = record.Record(say)
        self._loop = loops.Loop()
        self._rules = rules.Rules(plan)
        static = ((address, name.decode("ascii")) for address, _, name, _ in plan.relay_names)
        self._table = names.Table(static, self._rules.allows_name, self._name_refused)
        self._resolver, self._dialer = resolver, dialer
        self._flows: dict[flow.Flow, bool] = {}
        """Those that are open, and whether each comes from the command."""
        room = descriptors - len(sockets.listeners) - len(sockets.datagrams) - len(sockets.published)
        pipes = min(MOST_PIPES, room // 8)
        self._pipes = flow.Pipes(pipes)
        self._most = max(1, min(MOST_CONNECTIONS, (room - 2 * pipes - min(_RESERVE, room // 4)) // 2))
        self._datagrams = Datagrams(self._loop, self._route_datagrams, lambda: self._limit("flows of UDP"))
        self._responder = Responder(
            self._loop, lambda query: dns.answer(query, self._table), lambda: self._limit("DNS connections")
        )
        self._own_attempts = {(address, port) for address in publish.ADDRESSES for _, port in plan.publish}
        """Connections to published ports are tried at one address after the other."""
        answering = (*sockets.datagrams, *([sockets.dns] if sockets.dns else []))
        self._answering = {sock.getsockname()[1] for sock in answering}
        """Where the answers by UDP come from, some of them after the program that asked has ended."""
        self._is_ending = False
        self._accepting: list[Callable[[], bool]] = []
        self._serve(sockets)

    def run(self, control: socket.socket) -> bool:
        """Serve until a message or an end comes over `control`. Whether it was a message, so that somebody listens."""
        told: list[bytes] = []

        def heard(_: int) -> None:
            self._loop.forget(control.fileno())
            try:
                told.append(control.recv(16))
            except OSError:
                told.append(b"")

        self._loop.watch(control.fileno(), loops.READ, heard)
        while not told:
            self._loop.step()
        if told[0]:
            self._finish()
        self.close()
        return bool(told[0])

    def close(self) -> None:
        """End everything that is open."""
        for open_flow in list(self._flows):
            open_flow.abort()
        self._datagrams.close()
        self._responder.close()
        self._pipes.close()
        self._resolver.close()
        self._loop.close()

    def _serve(self, sockets: Sockets) -> None:
        for listener in sockets.listeners:
            flow.unpaced(listener)
            self._accepting.append(self._accept_from(listener, self._from_command))
        for listener in sockets.published:
            self._accept_from(listener, self._from_host)
        for sock in sockets.datagrams:
            self._datagrams.serve(sock)
        if sockets.dns:
            self._responder.serve_datagrams(sockets.dns)
        if sockets.dns_listener:
            self._accepting.append(self._accept_from(sockets.dns_listener, self._responder.accepted))
        if sockets.witness:
            seen = sockets.witness
            witness.attach(seen)
            self._loop.watch(seen.fileno(), loops.READ, lambda _: self._witnessed(seen))
        self._loop.watch(self._resolver.fileno(), loops.READ, lambda _: self._answered())

    def _finish(self) -> None:
        """The command is gone: what it sent before still goes out."""
        over: list[None] = []
        until = self._loop.clock() + END_SECONDS / 2
        self._loop.later(END_SECONDS, lambda: over.append(None))
        self._is_ending = True
        for accept in self._accepting:
            # A process that the command left behind could go on for ever.
            while accept() and self._loop.clock() < until:
                pass
        while not over and any(
            open_flow.is_sending if is_commands else open_flow.is_receiving
            for open_flow, is_commands in self._flows.items()
        ):
            self._loop.step()

    # --- connections ---

    def _accept_from(self, listener: socket.socket, serve: Callable[[socket.socket], None]) -> Callable[[], bool]:
        """Hand each connection to `serve`. Returns what does so at once, and tells whether there may be more."""

        def ready(_: int) -> None:
            accept()

        def accept() -> bool:
            """Whether there may be more."""
            for _ in range(_ACCEPT_BURST):
                try:
                    accepted, _ = listener.accept()
                except OSError as error:
                    if error.errno in _SHORTAGE and not self._is_ending:
                        # It stays in the queue, and would be told again and again.
                        self._loop.forget(listener.fileno())
                        self._loop.later(_PAUSE_SECONDS, watch)
                    if error.errno in (errno.ECONNABORTED, errno.EINTR):
                        continue
                    return False
                accepted.setblocking(False)
                serve(accepted)
            return True

        def watch() -> None:
            self._loop.watch(listener.fileno(), loops.READ, ready)

        listener.setblocking(False)
        watch()
        return accept

    def _open(self, near: socket.socket, counters: record.Counters | None, *, is_commands: bool) -> flow.Flow | None:
        """A flow for a connection, or None if it was reset because there are too many."""
        is_full = len(self._flows) >= self._most
        if not is_commands and not is_full:
            # Whoever is on this machine may connect to a published port: the command's own are to be possible still.
            is_full = sum(not own for own in self._flows.values()) >= max(1, self._most // 2)
        if is_full:
            self._limit(f"{self._most} connections" if is_commands else "connections to published ports")
            flow.reset(near)
            return None

        def ended(over: flow.Flow) -> None:
            self._flows.pop(over, None)
            if counters:
                counters.sent += over.sent
                counters.received += over.received

        opened = flow.Flow(self._loop, self._pipes, near, ended)
        self._flows[opened] = is_commands
        return opened

    def _from_command(self, near: socket.socket) -> None:
        try:
            host, port = near.getsockname()[:2]
        except OSError:
            near.close()
            return
        target, verdict = self._judge(rules.TCP, host, port)
        if not verdict.endpoint:
            self.record.refused("connect", record.place(target, port), verdict.reason)
            flow.reset(near)
            return
        counters = self.record.endpoint(verdict.endpoint)
        opened = self._open(near, counters, is_commands=True)
        if not opened:
            return
        counters.connections += 1

        def connected(far: socket.socket | None, number: int) -> None:
            if far:
                opened.connected(far)
            else:
                missed(os.strerror(number))

        def missed(reason: str) -> None:
            self.record.failed(counters, record.place(target, port), reason)
            opened.abort()

        def found(addresses: tuple[str, ...], _: record.Counters) -> None:
            if opened.is_open:
                opened.attempt(dial.Dial(self._loop, addresses, port, connected))

        self._resolve(rules.TCP, target, port, verdict, found, missed)

    def _from_host(self, near: socket.socket) -> None:
        port = near.getsockname()[1]
        opened = self._open(near, None, is_commands=False)
        if not opened:
            return
        if not self._dialer:
            opened.abort()
            return
        self.record.published(port)

        def connected(far: socket.socket | None, _: int) -> None:
            if far:
                opened.connected(far)
            else:
                opened.abort()

        opened.attempt(dial.Dial(self._loop, publish.ADDRESSES, port, connected, self._dialer.make))

    # --- targets ---

    def _judge(self, protocol: int, host: str, port: int) -> tuple[str, rules.Verdict]:
        """What the command wanted to reach, as a name if the address stands for one, and whether it may."""
        address = ipaddress.ip_address(host.partition("%")[0])
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        name = self._table.name_of(int(address)) if isinstance(address, ipaddress.IPv4Address) else ""
        target = name or str(address)
        judge = self._rules.tcp if protocol == rules.TCP else self._rules.udp
        return target, judge(target, port)

    def _resolve(
        self, protocol: int, target: str, port: int, verdict: rules.Verdict, found: Found, missed: Missed
    ) -> None:
        """Call `found` with the addresses that may be connected to, or `missed` with the reason if there is none."""
        if not verdict.name:
            found((verdict.address,), self.record.endpoint(verdict.endpoint))
            return
        asked = Asked(protocol, target, port, verdict.endpoint, found, missed)
        answer = self._resolver.ask(target, asked)
        if answer:
            self._choose(asked, answer)

    def _answered(self) -> None:
        for asked, answer in self._resolver.answers():
            self._choose(asked, answer)

    def _choose(self, asked: Asked, answer: Answer) -> None:
        if answer.limit:
            self._limit("lookups of names")
        choice = self._rules.choose(asked.protocol, asked.name, asked.port, answer.found)
        if choice.addresses:
            asked.found(choice.addresses, self.record.endpoint(asked.endpoint))
            return
        for address, reason in choice.refused:
            self.record.refused("address", record.place(address, asked.port), f"{reason}: {asked.name}")
        asked.missed(answer.error or "none of its addresses may be connected to")

    def _route_datagrams(self, host: str, port: int, opened: Found) -> bool:
        target, verdict = self._judge(rules.UDP, host, port)
        if not verdict.endpoint:
            self.record.refused("udp", record.place(target, port), verdict.reason)
            return False
        counters = self.record.endpoint(verdict.endpoint)

        def missed(reason: str) -> None:
            counters.connections += 1
            self.record.failed(counters, record.place(target, port), reason)

        self._resolve(rules.UDP, target, port, verdict, opened, missed)
        return True

    # --- refusals ---

    def _witnessed(self, seen: socket.socket) -> None:
        for _ in range(_ACCEPT_BURST):
            try:
                packet, source = seen.recvfrom(witness.LONGEST)
            except OSError:
                return
            # What came before the filter was there is all of the traffic, and twice.
            attempt = witness.refused(packet) if source[2] == witness.INCOMING else None
            if attempt and not self._is_own(attempt):
                target, verdict = self._judge(attempt.protocol, attempt.address, attempt.port)
                what = "connect" if attempt.protocol == witness.TCP else "udp"
                self.record.refused(what, record.place(target, attempt.port), verdict.reason or "nothing listens")

    def _is_own(self, attempt: witness.Attempt) -> bool:
        """Whether it is the relay's: a connection to a published port, or an answer that nobody waits for any more."""
        if attempt.protocol == witness.UDP:
            return attempt.sender in self._answering
        return (attempt.address, attempt.port) in self._own_attempts

    def _name_refused(self, name: str, reason: str) -> None:
        self.record.refused("name", name, reason)

    def _limit(self, of: str) -> None:
        self.record.refused("limit", of, "too many at once")
