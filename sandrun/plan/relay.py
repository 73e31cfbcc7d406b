"""The relay's own plan: what it serves, and the sandbox that it enters before it serves anybody.

It speaks with a command that may be hostile and with servers that may be, so it keeps no capability and no user of
weight, reads what resolvers and their modules need, connects to the granted TCP ports only, and starts no program.
"""

from __future__ import annotations

import os
from types import MappingProxyType
from typing import TYPE_CHECKING

from sandrun.plan.draft import Arg, Draft, Guard
from sandrun.plan.format import Plan
from sandrun.plan.groups import DNS, LIBRARIES, LOADER_FILES, present
from sandrun.plan.siblings import expand
from sandrun.plan.syscalls import resolve_syscalls
from sandrun.policy import guards
from sandrun.policy.families import FAMILIES
from sandrun.primitives import caps, landlock
from sandrun.primitives.landlock import FS, NET, NEWEST_ABI, READ
from sandrun.profile.model import Origin, Profile, Value

if TYPE_CHECKING:
    from sandrun.host import Host
    from sandrun.kernel import Kernel
    from sandrun.plan.egress import Egress

NOBODY = 65534
"""The ids of nobody, which own no file, on every distribution."""
MOST_MAP = 16 << 10
"""Bytes; a map has 340 lines at most."""
RESOLVERS = 53


def _words(names: str) -> tuple[str, ...]:
    return tuple(names.split())


CALLS = (
    "@default",
    *_words("read readv write writev close close_range dup dup3 fcntl ioctl lseek pread64 pipe2 splice shutdown"),
    *_words("socket socketpair connect accept accept4 getsockname getpeername getsockopt setsockopt"),
    *_words("sendto sendmsg sendmmsg recvfrom recvmsg recvmmsg"),
    *_words("epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2 eventfd2 poll ppoll select pselect6"),
    *_words("timerfd_create timerfd_settime clone madvise mremap prctl sched_getaffinity sysinfo uname wait4 waitid"),
    *_words("open openat access faccessat faccessat2 stat lstat fstat newfstatat statx getdents64 getcwd readlink"),
    *_words("readlinkat rt_sigaction rt_sigprocmask rt_sigtimedwait sigaltstack tgkill getrusage getcpu"),
)
"""To serve sockets, with threads; and for the modules of nsswitch.conf(5), which are loaded when first asked."""
NEVER = ("execve", "execveat")
"""They are left to every command."""
FAMILY_NAMES = ("inet", "inet6", "unix", "netlink")
"""unix is for the daemons of resolvers, netlink for getaddrinfo(3)."""
PROTOCOLS = (0, 6, 17)
"""Of socket(2): MPTCP and SCTP would be ways around Landlock."""
IOCTLS = (0x5401, 0x5411, 0x541B, 0x5421, 0x5450, 0x5451)
"""TCGETS, SIOCOUTQ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX."""
CLONE_THREAD = 0x00010000
CHANGING = 0o3 | guards.O_CREAT | guards.O_TRUNC | guards.O_TMPFILE
KEY = "network.connect"
RLIMIT_CORE, RLIMIT_NOFILE = 4, 7
IPPROTO_TCP = 6


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
    if can_be_nobody(kernel, host):
        fields.update(uid=NOBODY, gid=NOBODY, set_groups=1, groups=())
    most = host.rlimit(RLIMIT_NOFILE)[1]
    fields["rlimits"] = ((RLIMIT_CORE, 0, 0), (RLIMIT_NOFILE, most, most))
    _restrict(draft, egress, kernel, host)
    draft.guards.extend(guards.socket_families(dict.fromkeys(FAMILIES[name] for name in FAMILY_NAMES), KEY))
    draft.guards.extend(guards.tcp_fast_open(KEY))
    draft.guards.extend(_by_argument())
    resolve_syscalls(draft, kernel)
    return Plan(**fields), tuple(problem.message for problem in draft.problems)


def _profile() -> Profile:
    """A profile that allows CALLS, and refuses all others."""
    origin = Origin("builtin:relay", "syscalls.allow")
    return Profile("relay", values=MappingProxyType({origin.key: tuple(Value(name, origin) for name in CALLS)}))


def can_be_nobody(kernel: Kernel, host: Host) -> bool:
    """Whether this is root and may become nobody. In a user namespace that has no such ids (user_namespaces(7)) it is an
    ordinary user to all others, and stays that one without its capabilities, as other users do.
    """
    needed = caps.mask(("CAP_SETUID", "CAP_SETGID"))
    if host.uid != 0 or kernel.capabilities & needed != needed:
        return False
    maps = [host.read(f"/proc/self/{name}", MOST_MAP) for name in ("uid_map", "gid_map")]
    denied = (host.read("/proc/self/setgroups", 16) or b"").strip() == b"deny"
    return not denied and all(_has_id(NOBODY, text) for text in maps if text)


def _has_id(number: int, id_map: bytes) -> bool:
    """Whether the lines of a uid_map or gid_map (user_namespaces(7)) have this id inside."""
    rows = (line.split() for line in id_map.splitlines())
    return any(int(first) <= number < int(first) + int(length) for first, _, length in rows)


def _by_argument() -> tuple[Guard, ...]:
    """What of CALLS is open by argument only: threads but no processes, files to read, its own limits."""
    return (
        *(Guard(name, guards.EPERM, KEY) for name in NEVER),
        Guard("clone", guards.EPERM, KEY, (Arg(0, "masked_eq", 0, mask=CLONE_THREAD),)),
        *(
            Guard(name, guards.EACCES, KEY, (Arg(at, "masked_ne", 0, mask=CHANGING),))
            for name, at in (("open", 1), ("openat", 2))
        ),
        Guard("ioctl", guards.EPERM, KEY, (Arg(1, "not_in", values=IOCTLS),)),
        Guard("prlimit64", guards.EPERM, KEY, (Arg(0, "ne", 0),)),
        Guard("socket", guards.EPERM, KEY, (Arg(2, "not_in", values=PROTOCOLS),)),
    )


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
