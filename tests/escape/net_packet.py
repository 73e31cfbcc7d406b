"""Even with all of TCP and UDP granted and the capability kept, root can make no packet socket."""

from __future__ import annotations

import socket

SANDRUN = ("--connect", "*", "--capability", "net_raw")
REFUSALS = ("EAFNOSUPPORT",)
WHO = ("root",)


def attempt() -> None:
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
