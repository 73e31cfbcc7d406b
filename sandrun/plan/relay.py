"""The relay's own plan: what it serves, and the sandbox that it enters before it serves anybody.

It speaks with a command that may be hostile and with servers that may be, so it keeps no capability and no user of
weight, reads what resolvers and their modules need, connects to the granted TCP ports only, and starts no program.
"""

from __future__ import annotations

import os
from types import MappingProxyType
from typing import TYPE_CHECKING

from sandrun.plan.draft import Draft, Guard
from sandrun.plan.format import Plan
from sandrun.plan.groups import DNS, LIBRARIES, LOADER_FILES, present
from sandrun.plan.siblings import expand
from sandrun.plan.syscalls import resolve_syscalls
from sandrun.policy import guards
from sandrun.policy.families import FAMILIES
from sandrun.primitives import landlock
from sandrun.primitives.landlock import FS, NET, NEWEST_ABI, READ
from sandrun.profile.model import Origin, Profile, Value

if TYPE_CHECKING:
    from sandrun.host import Host
    from sandrun.kernel import Kernel
    from sandrun.plan.egress import Egress

NOBODY = 65534
"""The ids of nobody, which own no file, on every distribution."""
RESOLVERS = 53
PROMISES = ("stdio", "rpath", "inet", "dns", "unix", "prot_exec")
"""`unix` and `prot_exec` are for the modules of nsswitch.conf(5): they are loaded when first asked, and ask daemons."""
NEVER = ("bind", "execve", "execveat", "listen")
"""Its listening sockets are handed to it, and whatever else it has."""
RLIMIT_CORE, RLIMIT_NOFILE = 4, 7
IPPROTO_TCP, IPPROTO_UDP = 6, 17
SOCKETS = ((1, (0, IPPROTO_TCP)), (2, (0, IPPROTO_UDP)))
"""SOCK_STREAM and SOCK_DGRAM of socket(2), with the protocols that they may be."""


def relay_plan(
    egress: Egress, names: tuple[tuple[int, str], ...], private: tuple[bytes, ...], kernel: Kernel, host: Host
) -> tuple[Plan, tuple[str, ...]]:
    """The plan, and in plain words what of its sandbox cannot be had here. `names` have their addresses inside."""
    draft = Draft(_profile())
    fields = draft.fields
    fields.update(
        relay_rules=egress.rules,
        relay_deny=egress.denied,
        relay_names=tuple((address, 0, name.encode(), b"") for address, name in names),
        relay_private=private,
        publish=egress.publish,
        no_new_privs=1,
    )
    if host.uid == 0:
        fields.update(uid=NOBODY, gid=NOBODY, set_groups=1, groups=())
    most = host.rlimit(RLIMIT_NOFILE)[1]
    fields["rlimits"] = ((RLIMIT_CORE, 0, 0), (RLIMIT_NOFILE, most, most))
    _restrict(draft, egress, kernel, host)
    allowed = {
        FAMILIES[name]: SOCKETS if name.startswith("inet") else None for name in ("inet", "inet6", "unix", "netlink")
    }
    draft.guards.extend(guards.socket_families(allowed))
    draft.guards.extend(guards.io_uring())
    draft.guards.extend(guards.namespaces())
    draft.guards.extend(Guard(name, "errno:EPERM", "network.connect") for name in NEVER)
    resolve_syscalls(draft, kernel)
    return Plan(**fields), tuple(problem.message for problem in draft.problems)


def _profile() -> Profile:
    origin = Origin("builtin:relay", "syscalls.promises")
    return Profile("relay", values=MappingProxyType({origin.key: tuple(Value(name, origin) for name in PROMISES)}))


def _restrict(draft: Draft, egress: Egress, kernel: Kernel, host: Host) -> None:
    """Landlock, as far as this kernel has it. Daemons of the resolver are sockets by path, so these stay open."""
    abi = min(kernel.landlock_abi, NEWEST_ABI)
    if not abi:
        return
    handled = landlock.fs_mask(abi) & ~FS["resolve_unix"]
    rules = expand(present((*DNS, *LIBRARIES, *LOADER_FILES), READ, host), (), host).rules
    fields = draft.fields
    fields.update(
        landlock_abi=abi,
        landlock_fs=handled,
        path_rules=tuple((access & handled, kind, os.fsencode(path)) for path, (access, kind) in sorted(rules.items())),
        landlock_net=landlock.net_mask(abi) & (NET["connect_tcp"] | NET["bind_tcp"]),
        landlock_scoped=landlock.scope_mask(abi),
    )
    if fields["landlock_net"]:
        tcp = {span for number, span, _, _ in egress.rules if number == IPPROTO_TCP}
        ports = {port for span in tcp for port in range(span >> 16, (span & 0xFFFF) + 1)}
        ports |= {RESOLVERS, *(port for _, port in egress.publish)}
        fields["port_rules"] = tuple((NET["connect_tcp"], port) for port in sorted(ports))
