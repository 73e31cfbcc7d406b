"""Published ports: connections from this machine to servers of the command, in its network namespace.

A process of its own, the dialer, enters the namespaces, gives up everything else, and makes sockets there on demand.
The relay connects them from where it is: a socket belongs to the namespace that it was made in.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING, NoReturn

from sandrun import libc
from sandrun.egress import confine
from sandrun.errors import SandrunError

if TYPE_CHECKING:
    from sandrun.plan.format import Plan

ADDRESSES = ("127.0.0.1", "::1")
"""Where a server inside may listen for its connections; it sees them come from there as well."""
_ANSWER_SECONDS = 1.0
_END_SECONDS = 0.2
_ALL_DESCRIPTORS = 1 << 30
_FAMILIES = {b"4": socket.AF_INET, b"6": socket.AF_INET6}


class Dialer:
    """The relay's end of the talk with the dialer."""

    def __init__(self, link: socket.socket, pid: int) -> None:
        self._link, self.pid = link, pid
        link.settimeout(_ANSWER_SECONDS)

    def make(self, family: int) -> socket.socket:
        """A TCP socket in the command's network namespace. Raises OSError."""
        self._link.send(b"6" if family == socket.AF_INET6 else b"4")
        try:
            answer, fds, _, _ = socket.recv_fds(self._link, 16, 1)
        except TimeoutError:
            self._link.close()  # a late answer would be taken for that to the next question
            raise
        if not fds:
            raise OSError(errno.EIO if not answer else int.from_bytes(answer, "little"), "no socket from the dialer")
        return socket.socket(fileno=fds[0])

    def close(self) -> None:
        """End it: it sees that nobody asks any more. One that was stopped is left to die with this process."""
        try:
            self._link.settimeout(_END_SECONDS)
            self._link.shutdown(socket.SHUT_WR)
            while self._link.recv(16):
                pass  # late answers
            os.waitpid(self.pid, 0)
        except OSError:
            return
        finally:
            self._link.close()


def start(plan: Plan, network: int, user: int) -> Dialer:
    """Start the dialer, with descriptors of the command's namespaces. While there is one thread. Raises OSError."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if not pid:
        ours.close()
        _serve(plan, network, user, theirs)
    theirs.close()
    if ours.recv(1) != b"!":
        ours.close()
        raise OSError(errno.EIO, "the dialer did not start")
    return Dialer(ours, pid)


def _serve(plan: Plan, network: int, user: int, link: socket.socket) -> NoReturn:
    try:
        keep_ids = _enter(network, user)
        # Nothing of the relay stays open here but the way back.
        os.dup2(link.detach(), 0)
        os.closerange(1, _ALL_DESCRIPTORS)
        confine.confine(plan, keep_ids=keep_ids)
        link = socket.socket(fileno=0)
        link.send(b"!")
        while request := link.recv(1):
            _answer(link, _FAMILIES[request])
    except (OSError, SandrunError):
        pass
    finally:
        os._exit(0)


def _enter(network: int, user: int) -> bool:
    """Join both namespaces. Returns whether the user namespace is another one than ours."""
    ours = os.stat("/proc/self/ns/user")
    theirs = os.fstat(user)
    is_other = (ours.st_dev, ours.st_ino) != (theirs.st_dev, theirs.st_ino)
    if is_other:
        libc.setns(user, libc.CLONE_NEWUSER)
    libc.setns(network, libc.CLONE_NEWNET)
    return is_other


def _answer(link: socket.socket, family: int) -> None:
    try:
        with socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as made:
            socket.send_fds(link, [b"+"], [made.fileno()])
    except OSError as error:
        link.send((error.errno or errno.EIO).to_bytes(2, "little"))
