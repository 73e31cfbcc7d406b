"""Even with all of TCP and UDP granted, no netlink socket can be made to read routes and neighbours."""

from __future__ import annotations

import socket

SANDRUN = ("--connect", "*")
REFUSALS = ("EAFNOSUPPORT",)


def attempt() -> None:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as route:
        route.bind((0, 0))
