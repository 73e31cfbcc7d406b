"""What the command may do more or less under one profile than under another.

Entries are compared by what they cover, not by their text alone: who may write /srv may read /srv/data. Nothing here
looks at a machine, so wildcards and links are compared as written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sandrun.profile import endpoints
from sandrun.profile.bad import escaped
from sandrun.profile.keys import KEYS, TABLE, UNION
from sandrun.profile.model import AccessRule, Endpoint, Limit, PathEntry, Value
from sandrun.profile.paths import has_wildcard, literal
from sandrun.profile.write import to_toml

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sandrun.profile.keys import Key
    from sandrun.profile.model import Profile

MORE, LESS, OTHER = "+", "-", "~"


class Change(NamedTuple):
    """One line of a comparison: MORE is what the second profile adds, LESS what it takes, OTHER neither."""

    sign: str
    text: str


GRANTS: dict[str, str] = {
    # list key: what an entry lets the command do, behind "may" or "may no longer"
    "filesystem.read": "read {}",
    "filesystem.write": "write {}",
    "filesystem.create": "create and write {}",
    "filesystem.execute": "execute {}",
    "filesystem.rules": "use {}",
    "filesystem.overlay": "change a copy of {}",
    "network.connect": "connect to {}",
    "network.bind": "accept connections on {}",
    "network.unix": "connect to the unix socket {}",
    "network.private": "reach allowed names at {}",
    "network.families": "make sockets of family {}",
    "syscalls.allow": "call {}",
    "syscalls.promises": "do what {} promises",
    "privileges.capabilities": "keep {}",
    "privileges.ambient": "keep {} across execve",
    "privileges.groups": "act as group {}",
    "process.pass_fds": "use file descriptor {}",
    "environment.pass": "see the variable {}",
    "broker.input": "read the input {}",
    "broker.output": "leave the output {}",
}
DENIES: dict[str, str] = {
    # list key: what an entry keeps the command from
    "filesystem.deny": "touch {}",
    "filesystem.deny_write": "write {}",
    "network.deny": "use {}",
    "syscalls.deny": "call {}",
    "environment.unset": "see the variable {}",
    "process.namespaces": "share the {} namespace",
    "privileges.securebits": "do without the securebit {}",
}
IMPLIED: dict[str, tuple[str, ...]] = {
    # list key: the keys whose entries grant as much or more
    "filesystem.read": ("filesystem.read", "filesystem.write", "filesystem.create", "filesystem.execute"),
    "filesystem.write": ("filesystem.write", "filesystem.create"),
    "filesystem.deny_write": ("filesystem.deny_write", "filesystem.deny"),
    "privileges.capabilities": ("privileges.capabilities", "privileges.ambient"),
}
ORDERS: dict[str, tuple[object, ...]] = {
    # scalar key: its values from the strictest; None where absence has a place among them
    "filesystem.tmp": (None, "private", "host"),
    "filesystem.home": ("hidden", "private", "host"),
    "filesystem.proc": ("none", "own", "host"),
    "filesystem.dev": (None, "minimal", "host"),
    "network.loopback": (None, False, True),
    "syscalls.default": ("kill-process", "errno", "log", "allow"),
    "privileges.no_new_privs": (True, None, False),
    "process.isolate": (True, "signals", None, False),
    "process.tty": ("new-session", "pty", "protected", None, "inherit"),
}
SAME: dict[str, object] = {
    # scalar key: the value that absence means, so that writing it changes nothing
    "network.loopback": False,
    "privileges.no_new_privs": True,
    "process.isolate": False,
    "process.tty": "protected",
}
AMOUNTS = frozenset(("resources.memory", "resources.pids", "resources.cpu", "resources.io", "time.timeout"))
"""Scalars where more is more, and absence is no limit."""


def diff(first: Profile, second: Profile, *, exact: bool = False) -> list[Change]:
    """The changes from `first` to `second`, in the order of the declaration of keys; none if both allow the same.

    `exact`: none only if both say the same, the order of lists aside. What covers what is then not asked, since a link
    may lead an entry out of the directory that seems to cover it.
    """
    changes: dict[Change, None] = {}
    for key in KEYS:
        changes.update(dict.fromkeys(_key_changes(key, first, second, exact=exact)))
    for path in optional_paths(first, second):
        changes.update(dict.fromkeys(_optional_changes(path, first, second)))
    ours, theirs = _required(first), _required(second)
    changes.update(dict.fromkeys(Change(LESS, f"needs {name}") for name in theirs if name not in ours))
    changes.update(dict.fromkeys(Change(MORE, f"no longer needs {name}") for name in ours if name not in theirs))
    return list(changes)


def _required(profile: Profile) -> list[str]:
    return [str(value.value) for value in profile.require]


def optional_paths(*profiles: Profile) -> list[str]:
    """The key paths that `optional` may name: those of the declaration, and each name that is in a table."""
    paths: dict[str, None] = {}
    for key in KEYS:
        names = [name for profile in profiles for name in profile.names(key.path)] if key.merge == TABLE else []
        if key.protection:
            paths.update(dict.fromkeys((key.path, *(f"{key.path}.{name}" for name in names))))
    return list(paths)


def _key_changes(key: Key, first: Profile, second: Profile, *, exact: bool) -> Iterator[Change]:
    if key.merge == TABLE:
        yield from _table_changes(key, first, second)
        return
    if key.merge != UNION:
        yield from _scalar_changes(key, first.scalar(key.path), second.scalar(key.path), exact=exact)
        return
    gained, lost = _entries(key, second, first, exact=exact), _entries(key, first, second, exact=exact)
    if exact and not (gained or lost) and (key.path in first.values) != (key.path in second.values):
        # The list is empty where it is written. That a table says anything can matter by itself.
        yield Change(OTHER, f"{key.path} is {'written' if key.path in second.values else 'no longer written'}, as []")
    if key.path in GRANTS:
        yield from (Change(MORE, "may " + GRANTS[key.path].format(entry)) for entry in gained)
        yield from (Change(LESS, "may no longer " + GRANTS[key.path].format(entry)) for entry in lost)
        yield from _default_changes(key, first, second)
    elif key.path not in DENIES:
        # An action for an argument of a syscall may loosen or tighten, depending on everything else.
        yield from (Change(OTHER, f"{key.path} has {entry}") for entry in gained)
        yield from (Change(OTHER, f"{key.path} no longer has {entry}") for entry in lost)
    else:
        yield from (Change(MORE, f"is no longer kept from: {DENIES[key.path].format(entry)}") for entry in lost)
        yield from (Change(LESS, f"may never {DENIES[key.path].format(entry)}") for entry in gained)


def _default_changes(key: Key, first: Profile, second: Profile) -> Iterator[Change]:
    """`environment.pass` is the one list whose absence is not the same as an empty one."""
    if key.path != "environment.pass":
        return
    ours, theirs = key.path in first.values, key.path in second.values
    names = [str(value.value) for value in (*first.items(key.path), *second.items(key.path))]
    if ours == theirs or "@basic" in names or "@all" in names:
        return
    yield (
        Change(LESS, "may no longer see the variables of @basic")
        if theirs
        else Change(MORE, "may see the variables of @basic")
    )


def _entries(key: Key, having: Profile, lacking: Profile, *, exact: bool) -> list[str]:
    """The entries of a list in `having` that nothing in `lacking` covers, as text."""
    if exact:
        written = {to_toml(value, key) for value in lacking.items(key.path)}
        return [_entry(value, key) for value in having.items(key.path) if to_toml(value, key) not in written]
    covering = [value for path in IMPLIED.get(key.path, (key.path,)) for value in lacking.items(path)]
    return [
        _entry(value, key)
        for value in having.items(key.path)
        if not any(covers(other, value) for other in covering)
        and not (key.path == "environment.pass" and value.value == "@basic" and key.path not in lacking.values)
    ]


def _entry(value: Value, key: Key) -> str:
    if isinstance(value.value, AccessRule):
        at = f", shown at {value.value.at}" if value.value.at else ""
        return escaped(f"the rights {', '.join(value.value.access)} on {value.value.path.text}{at}")
    if isinstance(value.value, PathEntry):
        return escaped(value.value.text)
    return escaped(to_toml(value, key).strip('"'))


def covers(wide: Value, narrow: Value) -> bool:
    """Whether the entry `wide` of a list says at least as much as `narrow` of the same meaning."""
    ours, theirs = wide.value, narrow.value
    if ours == "@all":
        return True
    if isinstance(ours, PathEntry) and isinstance(theirs, PathEntry):
        return ours.group == "@all" or _path_covers(wide, ours, narrow, theirs)
    if isinstance(ours, AccessRule) and isinstance(theirs, AccessRule):
        same_place = ours.at == theirs.at and _path_covers(wide, ours.path, narrow, theirs.path)
        return same_place and set(theirs.access) <= set(ours.access)
    if isinstance(ours, Endpoint) and isinstance(theirs, Endpoint):
        return endpoints.covers(ours, theirs)
    if isinstance(ours, str) and isinstance(theirs, str) and ours.startswith("@") and not ours.startswith("@basic"):
        return ours == theirs or _set_covers(ours, theirs)
    return ours == theirs


def _path_covers(wide: Value, ours: PathEntry, narrow: Value, theirs: PathEntry) -> bool:
    if ours.group or theirs.group:
        return ours.group == theirs.group
    if ours.path == theirs.path and wide.origin.directory == narrow.origin.directory:
        return True
    above, below = _names(wide, ours), _names(narrow, theirs)
    if ".." in below[len(above) :] or (has_wildcard(ours) and above != below):
        return False
    return below[: len(above)] == above


def _names(value: Value, entry: PathEntry) -> tuple[str, ...]:
    """The components, with "/" first for an absolute path."""
    path = entry.path.replace("${PROFILE_DIR}", literal(value.origin.directory) or "${PROFILE_DIR}")
    names = tuple(name for name in path.split("/") if name not in ("", "."))
    return ("/", *names) if path.startswith("/") else names if names[:1] and names[0][0] in "~$" else (".", *names)


def _set_covers(group: str, entry: str) -> bool:
    """Whether a syscall @set has all of `entry` on every architecture."""
    from sandrun.policy import syscalls  # noqa: PLC0415 (large tables, and most comparisons need none)

    if syscalls.complaint(group) or syscalls.complaint(entry):
        return False
    for arch in syscalls.ARCHES:
        if not set(syscalls.meaning(entry, arch).numbers) <= set(syscalls.meaning(group, arch).numbers):
            return False
    return True


def _scalar_changes(key: Key, first: Value | None, second: Value | None, *, exact: bool) -> Iterator[Change]:
    default = None if exact else SAME.get(key.path)
    ours = first.value if first else default
    theirs = second.value if second else default
    if ours == theirs and type(ours) is type(theirs):
        return
    told = f"{_told(first, key, default)} -> {_told(second, key, default)}"
    yield _loosened(key.path, _rank(key.path, ours), _rank(key.path, theirs), told)


def _loosened(path: str, before: float | None, after: float | None, told: str) -> Change:
    if before is None or after is None or before == after:
        return Change(OTHER, f"{path}: {told}")
    if after > before:
        return Change(MORE, f"{path} loosened: {told}")
    return Change(LESS, f"{path} tightened: {told}")


def _rank(path: str, value: object) -> float | None:
    """How loose a value is among those of its key; None if they have no order."""
    if path in AMOUNTS:
        return float(value) if isinstance(value, int | float) else float("inf")
    if path == "process.nice":
        return -value if isinstance(value, int) else None
    for rank, known in enumerate(ORDERS.get(path, ())):
        if known == value and type(known) is type(value):
            return rank
    return None


def _told(value: Value | None, key: Key, default: object) -> str:
    if value is not None:
        return to_toml(value, key).strip('"')
    return "unlimited" if key.path in AMOUNTS else "not set" if default is None else str(default).lower()


def _table_changes(key: Key, first: Profile, second: Profile) -> Iterator[Change]:
    ours, theirs = first.names(key.path), second.names(key.path)
    for name in dict.fromkeys((*ours, *theirs)):
        before, after = ours.get(name), theirs.get(name)
        if before is not None and after is not None and before.value == after.value:
            continue
        if key.kind == "rlimit-table":
            path = f"{key.path}.{name}"
            told = f"{_told_limit(before, key)} -> {_told_limit(after, key)}"
            yield _loosened(path, _limit_rank(before), _limit_rank(after), told)
            continue
        what = "sets" if before is None else "no longer sets" if after is None else "sets another value for"
        yield Change(OTHER, f"{what} the variable {escaped(name)}")


def _told_limit(value: Value | None, key: Key) -> str:
    return "inherited" if value is None else to_toml(value, key).strip('"')


def _limit_rank(value: Value | None) -> float:
    limit = value.value if value is not None else None
    if not isinstance(limit, Limit) or limit.soft is None:
        return float("inf")
    return limit.soft


def _optional_changes(path: str, first: Profile, second: Profile) -> Iterator[Change]:
    before, after = _lost_if_need_be(first, path), _lost_if_need_be(second, path)
    if after and not before:
        yield Change(MORE, f"runs also where {path} cannot be enforced")
    if before and not after:
        yield Change(LESS, f"no longer runs where {path} cannot be enforced")


def _lost_if_need_be(profile: Profile, path: str) -> bool:
    return profile.is_optional(path)


def text(changes: Iterable[Change]) -> str:
    """The lines to print."""
    return "".join(f"{change.sign} {change.text}\n" for change in changes)
