"""What the names in a policy stand for in this version of sandrun, as digests: a group, an @set or a promise may mean
more in the next one, and the profile would look the same.

Only what the names are defined as is in a digest, nothing of a host: not which of these files exist.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from sandrun.plan import environment, groups
from sandrun.policy import promises, syscalls
from sandrun.profile.layer import key_of
from sandrun.profile.model import AccessRule, PathEntry

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sandrun.profile.model import Profile

GROUPS: Mapping[str, tuple[str, ...]] = {
    "@system": (*groups.SYSTEM, "/etc", *groups.DNS),
    "@runtime": (
        *groups.LIBRARIES,
        *groups.LOADER_FILES,
        *groups.LOCALE,
        *groups.NAMES,
        *groups.DNS,
        *groups.TLS,
        *groups.TREE_NAMES,
        *groups.PREFIX_PARTS,
        *groups.SHIM_PARTS,
        *(f"{language}: {tree}" for language, trees in groups.SHARED_TREES.items() for tree in trees),
    ),
    "@dns": groups.DNS,
    "@tls": (*groups.TLS, *groups.TLS_VARIABLES),
    "@devices": groups.DEVICES,
    "@tmp": groups.TEMPORARY,
}
FIXED = ("@all", "@tty")
"""Groups that no list defines."""
LENGTH = 16
"""Hexadecimal digits of a digest: it is there against oversight, not against somebody who makes up groups."""
BASIC = "@basic"
PASSED = "environment.pass"


def meanings(profile: Profile) -> dict[str, str]:
    """A digest for each name in the profile that stands for a list of this version, sorted by name."""
    found = {name: _digest(parts) for name, parts in _named(profile)}
    return dict(sorted(found.items()))


def _digest(parts: tuple[str, ...]) -> str:
    return sha256("\n".join(sorted(parts)).encode()).hexdigest()[:LENGTH]


def _named(profile: Profile) -> Iterator[tuple[str, tuple[str, ...]]]:
    if PASSED not in profile.values:
        yield BASIC, environment.BASIC
    for path, several in profile.values.items():
        key = key_of(path)
        for value in several:
            typed = value.value.path if isinstance(value.value, AccessRule) else value.value
            if isinstance(typed, PathEntry):
                if typed.group in GROUPS:
                    yield typed.group, GROUPS[typed.group]
            elif path == PASSED and typed == BASIC:
                yield BASIC, environment.BASIC
            elif key and key.kind == "syscalls" and syscalls.is_set(str(typed)):
                yield str(typed), _calls(str(typed))
            elif key and key.kind == "promises":
                yield f"promise {typed}", _promise(str(typed))


def _calls(name: str) -> tuple[str, ...]:
    """The syscalls behind a name, as `ARCHITECTURE NUMBER`."""
    return tuple(f"{arch} {number}" for arch in syscalls.ARCHES for number in syscalls.meaning(name, arch).numbers)


def _promise(name: str) -> tuple[str, ...]:
    whole = (call for listed in promises.calls(name) for call in _calls(listed))
    return (*whole, *map(repr, promises.limited(name)))
