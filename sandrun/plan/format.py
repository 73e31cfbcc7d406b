"""The Plan: everything one launch does, as flat data with a version, and its bytes.

LIGHT: imported on every launch, and the contract with any other executor. A Plan holds ints, bytes and tuples of them,
never a Python object, an open file descriptor or a value of an environment variable.

The bytes are little-endian records `tag:u16 length:u32 payload`, in the order of `FIELDS`, behind `MAGIC` and the
version. Payload by code: `i` one i64; `Q` one u64; `b` bytes; `B` a list of bytes, each `length:u32 bytes`; `I` i64s;
`P` path rules `access:u64 kind:u8 length:u32 path`; `N` pairs `u64 u64`; `R` triples `u64 u64 u64`;
`V` view records `operation:u64 flags:u64 length:u32 path length:u32 source`.
"""

from __future__ import annotations

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

MAGIC = b"SRPLAN\0\0"
VERSION = 4
KEEP = -1
"""In an integer field: leave as it is."""
NICE_KEEP = -128
UNLIMITED = 2**64 - 1

TTY_INHERIT, TTY_PROTECTED, TTY_NEW_SESSION, TTY_PTY = range(4)
KIND_FILE, KIND_DIRECTORY = range(2)
MAY_VANISH = 2
"""Added to a kind: found by listing a directory, so there is no rule if it is gone or another kind by the launch."""

CGROUP_NONE, CGROUP_V1, CGROUP_BELOW, CGROUP_ALONE, CGROUP_SCOPE = range(5)
"""Where the control group comes from: nowhere; hierarchies of version 1; below `cgroup_parents` as it is; the same, once
this process has stepped aside, which is alone in it; the same in a scope that systemd makes below the mount point."""
CGROUP_MAY_LACK, CGROUP_AFTER = 1, 2
"""Flags of a limit: no error where the kernel has no such file; set it once the command has been executed."""

FIELDS: tuple[tuple[str, str, Any], ...] = (
    ("executable", "b", b""),  # absolute path for execve; argv[0] is in argv
    ("argv", "B", ()),
    ("env_pass", "B", ()),  # names whose values come from the caller's environment
    ("env_set", "B", ()),  # names whose values are handed to launch beside the plan
    ("cwd", "b", b""),  # "" = stay where the caller is
    ("umask", "i", KEEP),
    ("nice", "i", NICE_KEEP),
    ("pass_fds", "I", ()),
    ("hold", "I", ()),  # (ready, go): descriptors of --hold, written to when all is in force; closed by execve
    ("tty", "i", TTY_PROTECTED),
    ("uid", "i", KEEP),
    ("gid", "i", KEEP),
    ("set_groups", "i", 0),  # 1: groups replaces the supplementary groups
    ("groups", "I", ()),
    ("bounding", "Q", 0),  # capability masks by bit number of capabilities(7)
    ("permitted", "Q", 0),
    ("inheritable", "Q", 0),
    ("ambient", "Q", 0),
    ("securebits", "i", 0),  # bits to set besides those in force
    ("no_new_privs", "i", 1),
    ("rlimits", "R", ()),  # (RLIMIT_*, soft, hard); UNLIMITED is RLIM_INFINITY
    ("landlock_abi", "i", 0),  # the ABI the masks were made for; 0 = no Landlock
    ("landlock_fs", "Q", 0),  # handled access rights
    ("landlock_net", "Q", 0),
    ("landlock_scoped", "Q", 0),
    ("landlock_flags", "Q", 0),  # landlock_restrict_self(2)
    ("path_rules", "P", ()),  # (access, KIND_* [+ MAY_VANISH], canonical path)
    ("port_rules", "N", ()),  # (access, port)
    ("holes", "B", ()),  # canonical paths that no path rule may turn out to be, by (device, inode)
    ("create", "B", ()),  # made before the launch as the command's user; a final "/" is a directory
    ("private_dirs", "B", ()),  # names of variables that get a fresh directory each, removed at the end: TMPDIR, HOME
    ("private_access", "Q", 0),  # the access rights on those directories
    ("seccomp", "B", ()),  # BPF programs, in order of loading
    ("seccomp_flags", "Q", 0),
    ("deadline_ms", "i", KEEP),  # wall clock until TERM
    ("grace_ms", "i", 2000),  # from TERM to KILL
    ("namespaces", "Q", 0),  # CLONE_NEW* flags of unshare(2)
    ("uid_map", "b", b""),  # of user_namespaces(7), with CLONE_NEWUSER only
    ("gid_map", "b", b""),
    ("id_helpers", "B", ()),  # newuidmap and newgidmap, where the maps hold more than the caller's own ids
    ("hostname", "b", b""),  # "" = as it is
    ("loopback", "i", 0),  # 1: the loopback interface of the new network namespace is set up
    ("egress", "b", b""),  # the bytes of the relay's own plan, which serves the network namespace; "" = no relay
    ("egress_listen", "N", ()),  # (IPPROTO_TCP or IPPROTO_UDP, port): where the relay listens in the namespace
    ("publish", "N", ()),  # (IPPROTO_TCP, port): ports of the namespace that the host's loopback shows
    # The program that has the supervisor make the connections, loaded first; "" = it makes none. What it may connect to
    # by TCP: (first port << 16 | last, 0, network and mask of 4 or of 16 bytes each, the endpoint as text).
    ("broker_filter", "b", b""),
    ("broker_rules", "V", ()),
    ("broker_deny", "V", ()),
    # The program that shows the supervisor what it is to see, loaded first; "" = nothing. Never beside a broker_filter.
    ("observe", "b", b""),
    ("view", "V", ()),  # what is mounted in the new mount namespace, in order: (VIEW_*, flags, path, source)
    ("view_rules", "P", ()),  # as path_rules, on places that exist only in the view
    ("apparmor", "b", b""),  # the profile that the command changes to at execve; "" = none
    ("selinux", "b", b""),  # its security context, likewise
    ("dynamic", "i", 0),  # 1: uid and gid stand for a number of its own that is found at the launch
    ("cgroup_way", "i", CGROUP_NONE),
    ("cgroup_parents", "B", ()),  # the directories in which the group is made
    ("cgroup_controllers", "B", ()),  # to be enabled for it (version 2)
    ("cgroup_limits", "V", ()),  # (index of the parent, CGROUP_* flags, file, value)
    # In the relay's own plan only. A rule is (IPPROTO_TCP or IPPROTO_UDP, first port << 16 | last, kind, host), with
    # the kinds and the hosts of Endpoint in profile/model.py: name, address, cidr, any.
    ("relay_rules", "V", ()),
    ("relay_deny", "V", ()),
    ("relay_names", "V", ()),  # (IPv4 address as a number, 0, name, b""): the address of each static name inside
    ("relay_private", "B", ()),  # networks as text, which names may resolve to
)


class PlanError(ValueError):
    """The bytes are not a Plan of this version."""


class Plan:
    """An immutable launch plan; fields and their defaults are `FIELDS`.

    Attributes are set once, by keyword. Two plans with the same fields are equal, and `from_bytes(to_bytes())` gives
    an equal plan.
    """

    __slots__ = tuple(name for name, _, _ in FIELDS)

    executable: bytes
    argv: tuple[bytes, ...]
    env_pass: tuple[bytes, ...]
    env_set: tuple[bytes, ...]
    cwd: bytes
    umask: int
    nice: int
    pass_fds: tuple[int, ...]
    hold: tuple[int, ...]
    tty: int
    uid: int
    gid: int
    set_groups: int
    groups: tuple[int, ...]
    bounding: int
    permitted: int
    inheritable: int
    ambient: int
    securebits: int
    no_new_privs: int
    rlimits: tuple[tuple[int, int, int], ...]
    landlock_abi: int
    landlock_fs: int
    landlock_net: int
    landlock_scoped: int
    landlock_flags: int
    path_rules: tuple[tuple[int, int, bytes], ...]
    port_rules: tuple[tuple[int, int], ...]
    holes: tuple[bytes, ...]
    create: tuple[bytes, ...]
    private_dirs: tuple[bytes, ...]
    private_access: int
    seccomp: tuple[bytes, ...]
    seccomp_flags: int
    deadline_ms: int
    grace_ms: int
    namespaces: int
    uid_map: bytes
    gid_map: bytes
    id_helpers: tuple[bytes, ...]
    hostname: bytes
    loopback: int
    egress: bytes
    egress_listen: tuple[tuple[int, int], ...]
    publish: tuple[tuple[int, int], ...]
    broker_filter: bytes
    broker_rules: tuple[tuple[int, int, bytes, bytes], ...]
    broker_deny: tuple[tuple[int, int, bytes, bytes], ...]
    observe: bytes
    view: tuple[tuple[int, int, bytes, bytes], ...]
    view_rules: tuple[tuple[int, int, bytes], ...]
    apparmor: bytes
    selinux: bytes
    dynamic: int
    cgroup_way: int
    cgroup_parents: tuple[bytes, ...]
    cgroup_controllers: tuple[bytes, ...]
    cgroup_limits: tuple[tuple[int, int, bytes, bytes], ...]
    relay_rules: tuple[tuple[int, int, bytes, bytes], ...]
    relay_deny: tuple[tuple[int, int, bytes, bytes], ...]
    relay_names: tuple[tuple[int, int, bytes, bytes], ...]
    relay_private: tuple[bytes, ...]

    def __init__(self, **fields: Any) -> None:
        for name, _, default in FIELDS:
            object.__setattr__(self, name, fields.pop(name, default))
        if fields:
            raise TypeError("not a field of Plan: " + ", ".join(sorted(fields)))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("a Plan does not change: " + name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Plan) and all(getattr(self, n) == getattr(other, n) for n, _, _ in FIELDS)

    def __hash__(self) -> int:
        return hash(self.to_bytes())

    def __repr__(self) -> str:
        changed = (f"{n}={getattr(self, n)!r}" for n, _, default in FIELDS if getattr(self, n) != default)
        return f"Plan({', '.join(changed)})"

    def to_bytes(self) -> bytes:
        """The plan as bytes; the same plan always gives the same bytes."""
        parts = [MAGIC, struct.pack("<I", VERSION)]
        for tag, (name, code, _) in enumerate(FIELDS):
            payload = _encode(code, getattr(self, name))
            parts += (struct.pack("<HI", tag, len(payload)), payload)
        return b"".join(parts)

    @classmethod
    def from_bytes(cls, data: bytes) -> Plan:
        """Read what `to_bytes` wrote.

        Raises PlanError for any other bytes: another version, a missing, repeated or truncated record.
        """
        if data[: len(MAGIC)] != MAGIC:
            raise PlanError("not a plan")
        try:
            (version,) = struct.unpack_from("<I", data, len(MAGIC))
            if version != VERSION:
                raise PlanError(f"plan version {version}, this is version {VERSION}")
            fields: dict[str, Any] = {}
            at = len(MAGIC) + 4
            for expected, (name, code, _) in enumerate(FIELDS):
                tag, length = struct.unpack_from("<HI", data, at)
                at += 6
                if tag != expected or at + length > len(data):
                    raise PlanError(f"record {expected} ({name}) is damaged")
                fields[name] = _decode(code, data[at : at + length])
                at += length
        except struct.error as error:
            raise PlanError(f"truncated: {error}") from None
        if at != len(data):
            raise PlanError(f"{len(data) - at} bytes too many")
        return cls(**fields)


_COLUMNS = {"I": "<q", "N": "<QQ", "R": "<QQQ"}


def _encode(code: str, value: Any) -> bytes:
    if code == "i":
        return struct.pack("<q", value)
    if code == "Q":
        return struct.pack("<Q", value)
    if code == "b":
        return bytes(value)
    if code == "B":
        return b"".join(struct.pack("<I", len(item)) + item for item in value)
    if code == "P":
        return b"".join(struct.pack("<QBI", access, kind, len(path)) + path for access, kind, path in value)
    if code == "V":
        return b"".join(
            struct.pack("<QQI", operation, flags, len(path)) + path + struct.pack("<I", len(source)) + source
            for operation, flags, path, source in value
        )
    if code == "I":
        return b"".join(struct.pack("<q", item) for item in value)
    return b"".join(struct.pack(_COLUMNS[code], *row) for row in value)


def _decode(code: str, data: bytes) -> Any:
    if code in "iQ":
        if len(data) != 8:
            raise PlanError("an integer is 8 bytes")
        return struct.unpack("<q" if code == "i" else "<Q", data)[0]
    if code == "b":
        return data
    if code == "B":
        return tuple(item for (item,) in _strings("<I", data))
    if code == "P":
        return tuple(_strings("<QBI", data))
    if code == "V":
        return tuple(_view(data))
    try:
        rows = struct.iter_unpack(_COLUMNS[code], data)
        return tuple(row[0] for row in rows) if code == "I" else tuple(rows)
    except struct.error as error:
        raise PlanError(str(error)) from None


def _view(data: bytes) -> Iterator[tuple[int, int, bytes, bytes]]:
    at = 0
    while at < len(data):
        operation, flags, length = struct.unpack_from("<QQI", data, at)
        at += 20 + length
        (more,) = struct.unpack_from("<I", data, at)
        if at + 4 + more > len(data):
            raise PlanError("a string runs past its record")
        yield operation, flags, data[at - length : at], data[at + 4 : at + 4 + more]
        at += 4 + more


def _strings(head: str, data: bytes) -> list[tuple[Any, ...]]:
    """Records of a fixed head whose last number is the length of the bytes behind it."""
    size = struct.calcsize(head)
    rows = []
    at = 0
    while at < len(data):
        *columns, length = struct.unpack_from(head, data, at)
        at += size
        if at + length > len(data):
            raise PlanError("a string runs past its record")
        rows.append((*columns, data[at : at + length]))
        at += length
    return rows
