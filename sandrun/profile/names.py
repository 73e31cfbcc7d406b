"""Short lists of names that profiles use, in the words of the man pages; numbers live with the primitives."""

from __future__ import annotations

RLIMITS: dict[str, str] = {
    # getrlimit(2): the name and what it counts
    "as": "bytes",
    "core": "bytes",
    "cpu": "seconds",
    "data": "bytes",
    "fsize": "bytes",
    "memlock": "bytes",
    "msgqueue": "bytes",
    "nice": "number",
    "nofile": "number",
    "nproc": "number",
    "rss": "bytes",
    "rtprio": "number",
    "rttime": "microseconds",
    "sigpending": "number",
    "stack": "bytes",
}

NAMESPACES: tuple[str, ...] = ("cgroup", "ipc", "mount", "net", "pid", "time", "user", "uts")
"""namespaces(7)."""

ENVIRONMENT_GROUPS: tuple[str, ...] = ("@basic", "@all")
