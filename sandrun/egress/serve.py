"""The life of the relay process: take what it is given, give up everything else, serve, leave a record.

Its descriptors and its environment are those of `sandrun.relaying`, which starts it.
"""

from __future__ import annotations

import os
import select
import socket
import struct
from typing import NamedTuple

from sandrun import libc
from sandrun.egress import confine, publish, relay, resolver
from sandrun.errors import EXIT_SANDRUN, SandrunError
from sandrun.plan.format import Plan, PlanError
from sandrun.primitives import fds, netns

PLAN, MESSAGES, CONTROL, CHANNEL, PUBLISHED = 0, 2, 3, 4, 5
VERBOSE, COUNT = "SANDRUN_RELAY_VERBOSE", "SANDRUN_RELAY_PUBLISHED"
_LONGEST_MESSAGE = 64
_RECORD_SECONDS = 1.0


class Delivery(NamedTuple):
    """What the child handed over: the sockets, and descriptors of its network and user namespace."""

    sockets: relay.Sockets
    network: int
    user: int


def main() -> int:
    """Be the relay. Returns the exit status, which nobody waits for; what matters is the record."""
    try:
        confine.harden()
        # What the caller left open for the command (process.pass_fds), or for nobody.
        libc.close_range(PUBLISHED + int(os.environ.get(COUNT, "0")), fds.LAST)
        _serve(_read_plan())
    except (OSError, PlanError, ValueError) as error:
        say(f"the relay failed: {error}")
        return EXIT_SANDRUN
    except SandrunError as error:
        say(f"the relay failed: {error.message}")
        return EXIT_SANDRUN
    return 0


def say(line: str) -> None:
    """A line on the caller's stderr; lost if that is full, since the relay waits for nobody."""
    poll = select.poll()
    poll.register(MESSAGES, select.POLLOUT)
    if any(events & select.POLLOUT for _, events in poll.poll(0)):
        try:
            os.write(MESSAGES, f"sandrun: {line}\n".encode())
        except OSError:
            return


def _read_plan() -> Plan:
    with os.fdopen(os.dup(PLAN), "rb") as file:
        plan = Plan.from_bytes(file.read())
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, PLAN)
    os.close(null)
    return plan


def _serve(plan: Plan) -> None:
    descriptors = confine.raise_descriptors()
    control = socket.socket(fileno=CONTROL)
    lookups = resolver.Resolver[relay.Asked]()
    published = [socket.socket(fileno=PUBLISHED + at) for at in range(int(os.environ.get(COUNT, "0")))]
    with socket.socket(fileno=CHANNEL) as channel:
        delivery = receive(channel, published)
    if delivery is None:
        return  # the launch failed, which its supervisor tells
    # Forked while this process is what the supervisor made of it: entering the namespaces takes its capabilities.
    dialer = publish.start(plan, delivery.network, delivery.user) if published else None
    for fd in (delivery.network, delivery.user):
        os.close(fd)
    confine.confine(plan)
    speak = say if os.environ.get(VERBOSE) == "1" else None
    at_work = relay.Relay(plan, delivery.sockets, lookups, say=speak, dialer=dialer, descriptors=descriptors)
    is_asked = at_work.run(control)
    if dialer:
        dialer.close()  # or the supervisor would find it, and take it for a process of the command
    if is_asked:
        control.settimeout(_RECORD_SECONDS)
        for message in at_work.record.messages():
            control.send(message)


def receive(channel: socket.socket, published: list[socket.socket]) -> Delivery | None:
    """Take the sockets that the child sends. None if it died before they were complete. Raises OSError."""
    listeners: dict[int, list[socket.socket]] = {netns.IPPROTO_TCP: [], netns.IPPROTO_UDP: []}
    single: dict[bytes, int] = {}
    while True:
        data, received, _, _ = socket.recv_fds(channel, _LONGEST_MESSAGE, 1)
        if data == netns.COMPLETE:
            break
        if not received:
            return None
        kind = data[:1]
        if kind == netns.LISTENER:
            protocol, _port = struct.unpack("=BH", data[1:])
            listeners[protocol].append(socket.socket(fileno=received[0]))
        else:
            single[kind] = received[0]
    made = {
        kind: socket.socket(fileno=single[kind])
        for kind in (netns.DNS, netns.DNS_LISTENER, netns.WITNESS)
        if kind in single
    }
    sockets = relay.Sockets(
        listeners[netns.IPPROTO_TCP],
        listeners[netns.IPPROTO_UDP],
        made.get(netns.DNS),
        made.get(netns.DNS_LISTENER),
        made.get(netns.WITNESS),
        published,
    )
    return Delivery(sockets, single[netns.NETWORK], single[netns.USER])
