"""Sockets that the caller hands over as descriptors 0 to 2: which are let through, beside which grants."""

from __future__ import annotations

import socket
import stat

import pytest

from sandrun.errors import SandrunError
from sandrun.host import Stat, System
from sandrun.kernel import Kernel
from sandrun.plan.resolve import resolve
from sandrun.profile import load
from tests.fakes import debian_host

UNIX, INET, INET6, NETLINK, VSOCK = 1, 2, 10, 16, 40
TCP, UDP, MPTCP = 6, 17, 262
SOCKET = Stat(stat.S_IFSOCK | 0o777, 9, 1234, 1, 1000, 1000)


def is_let_through(abi: int, family: int, protocol: int, *connect: str, free: bool = False, unix: str = "") -> bool:
    host = debian_host()
    host.free_sockets = {1} if free else set()
    host.fds[1] = (SOCKET, 2, "socket:[1234]")
    host.sockets[1] = (family, protocol)
    kernel = Kernel(landlock_abi=abi, landlock_state="available" if abi else "missing", uid=1000)
    everything = [(f"filesystem.{way}", "@all", "") for way in ("read", "write", "execute")]
    grants = [("network.connect", endpoint, "") for endpoint in connect]
    grants += [("network.unix", unix, "")] if unix else []
    said = ""
    try:
        resolve(load(("none",), [*everything, *grants]), kernel, host, ("/usr/bin/true",))
    except SandrunError as error:
        said = str(error)
    refused = "file descriptor 1 is a network socket" in said or "file descriptor 1 is a unix socket" in said
    assert refused or not said
    return not refused


@pytest.mark.parametrize("connect", [(), ("tcp:443",)])
def test_what_landlock_speaks_of(connect: tuple[str, ...]) -> None:
    """A TCP socket is held to the granted ports from ABI 4 on, one of UDP from ABI 10 on."""
    for family in (INET, INET6):
        assert is_let_through(4, family, TCP, *connect)
        assert is_let_through(10, family, UDP, *connect)
        assert not is_let_through(9, family, UDP, *connect)
    assert not is_let_through(3, INET, TCP)


def test_what_is_granted_on_every_port() -> None:
    """Then there is nothing to be held to."""
    assert is_let_through(7, INET, UDP, "udp:*")
    assert is_let_through(3, INET6, TCP, "*")


@pytest.mark.parametrize(("family", "protocol"), [(INET, MPTCP), (INET, 1), (NETLINK, 0), (VSOCK, 0), (-1, -1)])
def test_other_sockets(family: int, protocol: int) -> None:
    """Nothing speaks of them, so they are refused, whatever is granted."""
    assert not is_let_through(10, family, protocol, "*")


def test_unix_sockets() -> None:
    """Pairs of them are the pipes of ssh(1) and others; what they may connect to is told by `network.unix`."""
    assert is_let_through(7, UNIX, 0)
    assert not is_let_through(8, UNIX, 0, free=True)
    assert is_let_through(9, UNIX, 0, free=True), "Landlock holds it to the granted paths"
    assert is_let_through(7, UNIX, 0, free=True, unix="@all")


def test_unix_sockets_that_reach_others() -> None:
    """Those of datagrams are sent from to any name; one that is connected, or that listens, is not connected anew."""
    host = System()
    with socket.socket(socket.AF_UNIX) as fresh, socket.socket(socket.AF_UNIX) as server:
        server.bind("")
        assert host.fd_unix_free(fresh.fileno())
        assert host.fd_unix_free(server.fileno())
        server.listen()
        assert not host.fd_unix_free(server.fileno())
        fresh.connect(server.getsockname())
        assert not host.fd_unix_free(fresh.fileno())
    for kind, is_free in ((socket.SOCK_STREAM, False), (socket.SOCK_SEQPACKET, False), (socket.SOCK_DGRAM, True)):
        one, other = socket.socketpair(socket.AF_UNIX, kind)
        with one, other:
            assert host.fd_unix_free(one.fileno()) == is_free
