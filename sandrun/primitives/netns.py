"""The inside of a network namespace whose connections end at the relay: addresses, routes, sockets, and their way out.

LIGHT. A socket belongs to the namespace that it was made in, whoever holds it. So the child makes the listening sockets
in its new namespace and hands them to the relay, which stays outside: there is no bridge between the two, and nothing to
connect to once the relay is gone. Routes make every address a local one: whatever the command connects to is answered
here, and a socket that listens on all addresses tells which was meant (getsockname(2)).
"""

from __future__ import annotations

import errno
import os
import struct

from sandrun import libc
from sandrun.primitives import namespaces

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

AF_INET, AF_INET6, AF_NETLINK, AF_PACKET = 2, 10, 16, 17
SOCK_STREAM, SOCK_DGRAM, SOCK_RAW, SOCK_NONBLOCK, SOCK_CLOEXEC = 1, 2, 3, 0o4000, 0o2000000
IPPROTO_TCP, IPPROTO_UDP = 6, 17
DNS_PORT = 53
LISTENER, DNS, DNS_LISTENER, WITNESS, NETWORK, USER, COMPLETE = b"l", b"d", b"t", b"w", b"n", b"u", b"."
"""What a message to the relay brings: the first byte of each. Behind LISTENER stand protocol and port, `=BH`."""

_IPPROTO_IPV6, _IPV6_V6ONLY = 41, 26
_BACKLOG = 4096
_ETH_P_ALL = 3
_LO = 1
_REQUEST = struct.Struct("=IHHII")
"""struct nlmsghdr (netlink(7))."""
_NLMSG_ERROR = 2
_NEW = 0x1 | 0x4 | 0x200 | 0x400
"""NLM_F_REQUEST, NLM_F_ACK, NLM_F_EXCL, NLM_F_CREATE."""
_RTM_NEWADDR, _RTM_NEWROUTE = 20, 24
_IFA_LOCAL, _RTA_OIF = 2, 4
_SCOPE_HOST, _TABLE_LOCAL, _PROTOCOL_BOOT, _TYPE_LOCAL = 254, 255, 3, 2
_LOOPBACK = bytes((127, 0, 0, 1))
_LO_ADDRESS = bytes((127, 64, 0, 1))
"""A second address of lo. glibc's getaddrinfo(3) with AI_ADDRCONFIG finds no IPv4 where 127.0.0.1 is the only address."""
_NO_IPV6 = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EOPNOTSUPP, errno.EACCES)
"""How a kernel without IPv6 answers: booted with ipv6.disable=1, or with disable_ipv6 set for new namespaces."""


def furnish(listen: Sequence[tuple[int, int]], channel: int) -> None:
    """Make this process's new network namespace one whose connections end at the relay. Raises OSError.

    `listen` are the protocols and ports to listen on, `channel` is the SOCK_SEQPACKET end whose other end the relay has.
    Needs CAP_NET_ADMIN, CAP_NET_RAW and CAP_NET_BIND_SERVICE in the namespace. Each descriptor is closed once it is sent.
    """
    namespaces.set_up_loopback()
    ipv6 = _make_all_local()
    for protocol, port in listen:
        _hand_over(channel, LISTENER + struct.pack("=BH", protocol, port), _socket(protocol, port, ipv6=ipv6))
    _hand_over(channel, DNS, _bound(AF_INET, IPPROTO_UDP, _inet(_LOOPBACK, DNS_PORT)))
    _hand_over(channel, DNS_LISTENER, _bound(AF_INET, IPPROTO_TCP, _inet(_LOOPBACK, DNS_PORT)))
    _hand_over(channel, WITNESS, _witness())
    for kind, name in ((NETWORK, "net"), (USER, "user")):
        _hand_over(channel, kind, os.open(f"/proc/self/ns/{name}", os.O_RDONLY | os.O_CLOEXEC))
    os.write(channel, COMPLETE)


def _make_all_local() -> bool:
    """Route every address to lo (`ip route add local default dev lo table local`). Returns whether IPv6 is there too."""
    fd = libc.socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC)
    try:
        _ask(fd, _RTM_NEWADDR, struct.pack("=BBBBIHH4s", AF_INET, 32, 0, _SCOPE_HOST, _LO, 8, _IFA_LOCAL, _LO_ADDRESS))
        _ask(fd, _RTM_NEWROUTE, _everything(AF_INET))
        try:
            _ask(fd, _RTM_NEWROUTE, _everything(AF_INET6))
        except OSError as error:
            if error.errno not in _NO_IPV6:
                raise
            return False
    finally:
        os.close(fd)
    return True


def _everything(family: int) -> bytes:
    """struct rtmsg and RTA_OIF (rtnetlink(7)): the default route of a family, of type local."""
    head = (family, 0, 0, 0, _TABLE_LOCAL, _PROTOCOL_BOOT, _SCOPE_HOST, _TYPE_LOCAL, 0)
    return struct.pack("=BBBBBBBBIHHI", *head, 8, _RTA_OIF, _LO)


def _ask(fd: int, kind: int, body: bytes) -> None:
    os.write(fd, _REQUEST.pack(_REQUEST.size + len(body), kind, _NEW, 0, 0) + body)
    answer = os.read(fd, 4096)
    _, kind, _, _, _ = _REQUEST.unpack_from(answer)
    (number,) = struct.unpack_from("=i", answer, _REQUEST.size)
    if kind != _NLMSG_ERROR or number:
        raise OSError(-number or errno.EPROTO, os.strerror(-number or errno.EPROTO))


def _socket(protocol: int, port: int, *, ipv6: bool) -> int:
    """A socket on all addresses of both families; of IPv4 alone where there is no other."""
    if ipv6:
        try:
            return _bound(AF_INET6, protocol, struct.pack("=H", AF_INET6) + struct.pack(">HI16xI", port, 0, 0))
        except OSError as error:
            if error.errno not in _NO_IPV6:
                raise
    return _bound(AF_INET, protocol, _inet(bytes(4), port))


def _inet(address: bytes, port: int) -> bytes:
    """struct sockaddr_in (ip(7))."""
    return struct.pack("=H", AF_INET) + struct.pack(">H4s8x", port, address)


def _bound(family: int, protocol: int, address: bytes) -> int:
    kind = SOCK_STREAM if protocol == IPPROTO_TCP else SOCK_DGRAM
    fd = libc.socket(family, kind | SOCK_NONBLOCK | SOCK_CLOEXEC)
    try:
        if family == AF_INET6:
            libc.setsockopt(fd, _IPPROTO_IPV6, _IPV6_V6ONLY, 0)
        libc.bind(fd, address)
        if protocol == IPPROTO_TCP:
            libc.listen(fd, _BACKLOG)
    except OSError:
        os.close(fd)
        raise
    return fd


def _witness() -> int:
    """A packet socket (packet(7)): it sees what no listener answers. -1 where the kernel has none; it only records."""
    big_endian = int.from_bytes(struct.pack(">H", _ETH_P_ALL), "little")
    try:
        return libc.socket(AF_PACKET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, big_endian)
    except OSError as error:
        if error.errno in (errno.EAFNOSUPPORT, errno.EPERM):
            return -1
        raise


def _hand_over(channel: int, data: bytes, fd: int) -> None:
    if fd >= 0:
        try:
            libc.send_fd(channel, data, fd)
        finally:
            os.close(fd)
