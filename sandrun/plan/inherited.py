"""Sockets that the caller hands over as descriptors 0 to 2."""

from __future__ import annotations

import stat

from sandrun.policy.families import FAMILIES
from sandrun.primitives.landlock import NET

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container

    from sandrun.host import Host
    from sandrun.plan.draft import Draft

PROTOCOLS = {
    # IPPROTO_*: what an endpoint calls it, and the Landlock right to connect
    6: ("tcp", NET["connect_tcp"]),
    17: ("udp", NET["connect_send_udp"]),
}


def check_sockets(draft: Draft, host: Host, everything: Container[str], *, unix: bool) -> None:
    """Refuse those that nothing holds to the grants; call after the Landlock network fields.

    They were made before any filter, and can be connected anew (connect(2) with AF_UNSPEC). So each must be of a
    protocol of which `everything` is granted, or whose connections Landlock keeps to the granted ports. Those of unix(7)
    are pipes as long as they have a peer for good; `unix` says that others are granted or held.
    """
    for fd in (0, 1, 2):
        known = host.fd_stat(fd)
        if known is None or not stat.S_ISSOCK(known[0].mode):
            continue
        family, number = host.fd_socket(fd) or (-1, -1)
        if family == FAMILIES["unix"]:
            if not unix and host.fd_unix_free(fd):
                message = f"file descriptor {fd} is a unix socket, which could reach any server by its name"
                draft.refuse("", message, f"redirect {fd} to a pipe, a file or /dev/null, or allow --unix @all")
            continue
        is_inet = family in (FAMILIES["inet"], FAMILIES["inet6"])
        protocol, right = PROTOCOLS.get(number, ("", 0)) if is_inet else ("", 0)
        if protocol not in everything and not draft.fields["landlock_net"] & right:
            message = f"file descriptor {fd} is a network socket, which could be connected to other hosts"
            draft.refuse("", message, f"redirect {fd} to a pipe, a file or /dev/null")
