"""relaying: start the relay of a launch, end it, and take its record.

LIGHT. The relay (`sandrun.egress`) is a program of its own: it speaks with the command's side, so it gets a fresh
interpreter without this process's memory and environment, and nothing of this process but the descriptors below. It
starts while the launch goes on. Nothing waits for it: connections wait in the queues of their sockets until it serves.

If it dies, the last copies of those sockets go with it, and the command's connections are refused.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import struct
import sys
import time

from sandrun import libc
from sandrun.errors import SandrunError
from sandrun.primitives import fds, netns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from sandrun.plan.format import Plan

PLAN, OUT, MESSAGES, CONTROL, CHANNEL, PUBLISHED = range(6)
"""The relay's descriptors: its plan, nothing, the caller's messages, the talk with the supervisor, where the sockets of
the namespace arrive, and from there on the listening sockets of the published ports, two each."""
VERBOSE, COUNT = "SANDRUN_RELAY_VERBOSE", "SANDRUN_RELAY_PUBLISHED"
"""All the environment it has: whether to tell each refusal at once, and how many listening sockets follow."""
END = b"end"
"""What the supervisor says when the command is gone; the answer is the record, in messages, and an empty one."""
MESSAGE = 32 << 10
MOST_RECORD = 1 << 20

_AF_UNIX, _SOCK_SEQPACKET = 1, 5
_PROGRAM = os.path.join(os.path.dirname(__file__), "egress", "__main__.py")
_RECORD_SECONDS = 2.0
"""What the command sent last is still on its way when the command has ended."""
_LOOPBACKS = (
    (netns.AF_INET, struct.pack("=H", netns.AF_INET), bytes((127, 0, 0, 1)) + bytes(8)),
    (netns.AF_INET6, struct.pack("=H", netns.AF_INET6), bytes(4) + bytes(15) + b"\x01" + bytes(4)),
)
"""By family: what stands before the port and behind it in the address of the loopback interface."""
_HINTS = {
    errno.EADDRINUSE: "another program of this machine has it: grant another port with --bind",
    errno.EACCES: "ports below 1024 are root's (net.ipv4.ip_unprivileged_port_start): grant another one with --bind",
}


class Relay:
    """The running relay. `channel` is what the child sends the sockets of its network namespace over."""

    __slots__ = ("_control", "_pidfd", "channel", "pid")

    def __init__(self, pid: int, control: int, channel: int) -> None:
        self.pid = pid
        self.channel = channel
        self._control = control
        self._pidfd = os.pidfd_open(pid)

    def furnish(self, listen: Sequence[tuple[int, int]]) -> None:
        """In the child: set up its network namespace, and hand the relay the sockets of `Plan.egress_listen`."""
        netns.furnish(listen, self.channel)

    def handed_over(self) -> None:
        """The child has its copy of the channel: let go of this one, so that the relay sees an end if the child dies."""
        if self.channel >= 0:
            os.close(self.channel)
            self.channel = -1

    def end(self) -> bytes:
        """End it, and return its record: JSON text, or b"" if it did not live to tell."""
        try:
            return self._record()
        except OSError:
            return b""
        finally:
            self.abandon()

    def abandon(self) -> None:
        """End it at once, without a record."""
        self.handed_over()
        os.close(self._control)
        try:
            libc.pidfd_send_signal(self._pidfd, libc.SIGKILL)
            os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED)
        except (ProcessLookupError, ChildProcessError):
            pass  # it is reaped, by whoever waits for any child
        finally:
            os.close(self._pidfd)

    def _record(self) -> bytes:
        os.write(self._control, END)
        until = time.monotonic() + _RECORD_SECONDS
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        said = b""
        while poll.poll(max(0.0, until - time.monotonic()) * 1000):
            part = os.read(self._control, MESSAGE)
            if not part:
                return said
            said += part
            if len(said) > MOST_RECORD:
                break
        return b""


def start(plan: Plan, *, verbose: bool = False) -> Relay | None:
    """Start the relay that the plan asks for, if it does; with all signals blocked, before the fork.

    Raises SandrunError, also if a port to be published is taken.
    """
    if not plan.egress:
        return None
    opened: list[int] = []
    try:
        published = _published(plan, opened)
        opened.append(fds.sealed("sandrun-relay", plan.egress))
        policy = opened[-1]
        opened.append(os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC))
        out = opened[-1]
        kind = _SOCK_SEQPACKET | netns.SOCK_CLOEXEC
        control, control_end = libc.socketpair(_AF_UNIX, kind)
        opened += (control, control_end)
        channel, channel_end = libc.socketpair(_AF_UNIX, kind)
        opened += (channel, channel_end)
        given = {PLAN: policy, OUT: out, CONTROL: control_end, CHANNEL: channel_end}
        given.update((PUBLISHED + at, fd) for at, fd in enumerate(published))
        relay = Relay(_spawn(given, opened, verbose=verbose), control, channel)
        opened = [fd for fd in opened if fd not in (control, channel)]
    except OSError as error:
        raise SandrunError(f"cannot start the relay: {libc.strerror(error.errno or 0)}") from None
    finally:
        for fd in opened:
            os.close(fd)
    return relay


def _spawn(given: dict[int, int], opened: list[int], *, verbose: bool) -> int:
    moved = {}
    for number, fd in given.items():
        # Out of the way first: one could have the number that another is to get.
        opened.append(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, PUBLISHED + len(given)))
        moved[number] = opened[-1]
    program = sys.executable
    if not program:
        raise SandrunError("cannot start the relay: the path of the Python interpreter is unknown")
    return os.posix_spawn(
        program,
        [
            program,
            "-I",
            "-S",
            *(("-B",) if sys.dont_write_bytecode else ()),
            _PROGRAM,
            *(entry for entry in sys.path if entry[:1] == "/"),
        ],
        {COUNT: str(sum(number >= PUBLISHED for number in given)), **({VERBOSE: "1"} if verbose else {})},
        file_actions=[(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in moved.items()],
        # A terminal's signals are for the command; the relay ends when its supervisor says so or is gone.
        setsid=True,
    )


def _published(plan: Plan, opened: list[int]) -> list[int]:
    """A listening socket on 127.0.0.1 and one on ::1 for each port; where there is no IPv6, the first one twice."""
    listeners = []
    for _, port in plan.publish:
        for family, head, tail in _LOOPBACKS:
            try:
                opened.append(libc.socket(family, netns.SOCK_STREAM | netns.SOCK_CLOEXEC | netns.SOCK_NONBLOCK))
                libc.setsockopt(opened[-1], 1, 2, 1)  # SOL_SOCKET, SO_REUSEADDR
                libc.bind(opened[-1], head + struct.pack(">H", port) + tail)
                libc.listen(opened[-1], 4096)
                listeners.append(opened[-1])
            except OSError as error:
                if family == netns.AF_INET6 and error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                    listeners.append(listeners[-1])
                    continue
                raise SandrunError(
                    f"cannot publish port {port} on the loopback interface: {libc.strerror(error.errno or 0)}",
                    hint=_HINTS.get(error.errno or 0),
                ) from None
    return listeners
