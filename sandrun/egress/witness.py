"""What the command tried where nobody listens: seen by a packet socket in its network namespace.

The kernel refuses such an attempt by itself, since every address is local there. Its refusal is what is looked for, so
that a server of the command's own is none: the reset that answers a SYN (RFC 9293, 3.10.7.1), and the ICMP messages for
a port without a socket (RFC 792, RFC 4443).
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from typing import NamedTuple

from sandrun import libc

TCP, UDP = 6, 17
LONGEST = 256
"""As much of a packet as is looked at."""
INCOMING = 0
"""PACKET_HOST of packet(7)."""
_ICMP, _ICMPV6 = 1, 58
_RST_ACK = 0x14
_PORT_UNREACHABLE, _PORT_UNREACHABLE6 = 0x0303, 0x0104
_FLAGS = 0x3F
_SO_ATTACH_FILTER = 26
_PACKET_TYPE = 0xFFFFF004
"""SKF_AD_OFF + SKF_AD_PKTTYPE (linux/filter.h)."""

_LD_W, _LD_H, _LD_B, _LD_WX, _LD_HX, _LD_BX, _LDX_IHL = 0x20, 0x28, 0x30, 0x40, 0x48, 0x50, 0xB1
_AND, _JEQ, _RET = 0x54, 0x15, 0x06
_TAKE, _DROP = 26, 27
_PROGRAM = (
    # (code, value, go here if equal, else here) of socket(7), linux/filter.h; jumps are by line number
    (_LD_B, _PACKET_TYPE),
    (_JEQ, 0, 2, _DROP),  # once, on its way in: on lo each packet passes twice
    (_LD_B, 0),
    (_AND, 0xF0),
    (_JEQ, 0x40, 5, 17),
    (_LD_B, 9),  # IPv4
    (_JEQ, _ICMP, 7, 10),
    (_LDX_IHL, 0),
    (_LD_HX, 0),
    (_JEQ, _PORT_UNREACHABLE, _TAKE, _DROP),
    (_JEQ, TCP, 11, _DROP),
    (_LDX_IHL, 0),
    (_LD_WX, 4),
    (_JEQ, 0, 14, _DROP),
    (_LD_BX, 13),
    (_AND, _FLAGS),
    (_JEQ, _RST_ACK, _TAKE, _DROP),
    (_JEQ, 0x60, 18, _DROP),  # IPv6
    (_LD_B, 6),
    (_JEQ, _ICMPV6, 20, 22),
    (_LD_H, 40),
    (_JEQ, _PORT_UNREACHABLE6, _TAKE, _DROP),
    (_JEQ, TCP, 23, _DROP),
    (_LD_B, 53),
    (_AND, _FLAGS),
    (_JEQ, _RST_ACK, _TAKE, _DROP),
    (_RET, LONGEST),
    (_RET, 0),
)


class Attempt(NamedTuple):
    """What was refused: TCP or UDP, where it was to go, and the port that it came from."""

    protocol: int
    address: str
    port: int
    sender: int


def program() -> bytes:
    """The filter as instructions of struct sock_filter."""
    lines = []
    for at, (code, value, *jumps) in enumerate(_PROGRAM):
        here, there = (target - at - 1 for target in jumps) if jumps else (0, 0)
        lines.append(struct.pack("=HBBI", code, here, there, value))
    return b"".join(lines)


def attach(sock: socket.socket) -> None:
    """Let the kernel pass on nothing but refusals. Raises OSError."""
    compiled = libc.SockFprog(program())
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, compiled.data)


def refused(packet: bytes) -> Attempt | None:
    """The attempt that this packet refuses, if it is such a one; it starts with its IP header. Never raises."""
    if not packet:
        return None
    version = packet[0] >> 4
    return _refused4(packet) if version == 4 else _refused6(packet) if version == 6 else None


def _refused4(packet: bytes) -> Attempt | None:
    start = (packet[0] & 15) * 4
    if len(packet) < start + 20 or start < 20:
        return None
    if packet[9] == TCP:
        return _reset(packet, start, packet[12:16])
    inner = packet[start + 8 :]
    if packet[9] != _ICMP or packet[start : start + 2] != b"\3\3" or len(inner) < 28 or inner[9] != UDP:
        return None
    ports = (inner[0] & 15) * 4
    return _attempt(UDP, inner[16:20], inner, ports + 2, ports)


def _refused6(packet: bytes) -> Attempt | None:
    if len(packet) < 60:
        return None
    if packet[6] == TCP:
        return _reset(packet, 40, packet[8:24])
    inner = packet[48:]
    if packet[6] != _ICMPV6 or packet[40:42] != b"\1\4" or len(inner) < 48 or inner[6] != UDP:
        return None
    return _attempt(UDP, inner[24:40], inner, 42, 40)


def _reset(packet: bytes, start: int, source: bytes) -> Attempt | None:
    """A reset with the sequence number 0 answers a SYN, any other one ends a connection."""
    if packet[start + 13] & _FLAGS != _RST_ACK or packet[start + 4 : start + 8] != bytes(4):
        return None
    return _attempt(TCP, source, packet, start, start + 2)


def _attempt(protocol: int, address: bytes, packet: bytes, port: int, sender: int) -> Attempt | None:
    """The attempt at `address`; `port` and `sender` are where the packet has the two ports."""
    if len(packet) < max(port, sender) + 2:
        return None
    ports = (int.from_bytes(packet[at : at + 2], "big") for at in (port, sender))
    return Attempt(protocol, str(ipaddress.ip_address(address)), *ports)
