"""Documents of profiles without mistakes, for laws that hold of every one."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from sandrun.profile.keys import KEYS, UNION, Key
from sandrun.profile.names import RLIMITS

GOOD: dict[str, list[Any]] = {
    # kind: TOML values that its reader takes (for a list key, of one item)
    "paths": ["@all", ".", "/a b", "~/x?", "${HOME}/[*]", "/new\nline", '/"quoted"\\'],
    "path": ["/srv", "~"],
    "rules": [{"path": "/a", "access": ["read_file", "@all"]}, {"path": "b?", "access": ["refer"], "at": "/c"}],
    "string": ["name", "näme"],
    "bool": [True, False],
    "isolate": [True, "signals", False],
    "endpoints": ["*", "tcp:443", "[::1]:5", "10.0.0.0/8"],
    "unix": ["@all", "/run/x.sock?", "abstract:a b"],
    "cidrs": ["10.0.0.0/8", "fd00::/8"],
    "families": ["netlink", "AF_ALG"],
    "syscalls": ["@system-service", "openat", 435, "435"],
    "promises": ["stdio", "inet"],
    "syscall-rules": [
        {"syscall": "ioctl", "arg": 1, "op": "eq", "value": 2**63 - 1, "action": "errno:ENOTTY"},
        {"syscall": 41, "arg": 0, "op": "masked_eq", "value": "0x1", "mask": -1, "action": "kill-process"},
    ],
    "capabilities": ["CAP_NET_RAW", "chown", "@all"],
    "securebits": ["noroot"],
    "namespaces": ["net", "@all"],
    "user": [0, "alice", "1000"],
    "group": [2**32 - 2, "staff"],
    "groups": [4, "adm"],
    "env-names": ["@basic", "LC_*", "A"],
    "octal": ["022", "7"],
    "nice": [-20, 19],
    "count": [1, 4096],
    "fds": [0, 9],
    "size": [1, "512M", "3K", 1025],
    "percent": ["150%"],
    "broker-input": [{"name": "a", "path": "x"}, {"name": "b-c", "optional": True}, {"name": "a", "path": "~/[*]"}],
    "broker-output": [
        {"name": "a", "path": "/x", "max_size": "1K", "line": "[a-z]+", "mode": "0640", "owner": "a:b", "mkdir": True},
        {"name": "b", "json_schema": {"type": ["string", "null"], "maxLength": 3}, "utf8": False},
        {"name": "c", "json_schema": "x.json", "validator": ["a", "b\n"], "validator_read": ["@system", "/y"]},
        {"name": "c", "validator_timeout": "250ms"},
    ],
    "duration": [1.5, 3, "250ms", "2h"],
}
LIMITS: dict[str, list[Any]] = {
    "bytes": [0, "64M", "1K:2K", "unlimited", "5:unlimited"],
    "number": [256, "256:512", "unlimited"],
    "seconds": [10, "1m", "10:20"],
    "microseconds": ["250ms", 1, "1s:2s"],
}


def good(key: Key) -> st.SearchStrategy[Any]:
    one = st.sampled_from(list(key.choices) if key.kind == "enum" else GOOD.get(key.kind, [None]))
    if key.kind == "env-table":
        return st.dictionaries(st.sampled_from(["A", "B.c", "_"]), st.text("xyz\n", max_size=3), max_size=2)
    if key.kind == "rlimit-table":
        entries = {name: st.sampled_from(LIMITS[counted]) for name, counted in RLIMITS.items()}
        return st.fixed_dictionaries({}, optional=entries)
    if key.merge == UNION:
        items = st.lists(one, max_size=3)
        return items if key.path != "network.bind" else st.lists(st.sampled_from(["tcp:0", "[::1]:5"]), max_size=2)
    return one


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """Documents without mistakes: some keys, each with values that are right for it."""
    data: dict[str, Any] = draw(
        st.fixed_dictionaries(
            {}, optional={"schema": st.just(1), "description": st.just("d"), "require": st.just(["userns"])}
        )
    )
    asked = []
    for key in draw(st.lists(st.sampled_from(KEYS), unique_by=lambda key: key.path, max_size=8)):
        if key.path in (
            "filesystem.deny",
            "filesystem.deny_write",
            "network.deny",
            "syscalls.deny",
            "environment.unset",
        ):
            continue
        table, _, name = key.path.partition(".")
        value = draw(good(key))
        if name:
            data.setdefault(table, {})[name] = value
        else:
            data[table] = value
        if key.protection and value not in ([], {}):
            asked.append(key.path)
    if asked and draw(st.booleans()):
        data["optional"] = [draw(st.sampled_from(asked))]
    return data
