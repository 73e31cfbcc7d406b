"""A policy without what only one machine knows, so that its lock is the same wherever it is made.

The entries stay as the profiles write them: `~`, `${NAME}`, wildcards and groups are not filled in. Only
`${PROFILE_DIR}` is, since each layer has its own: it becomes that of the lock.
"""

from __future__ import annotations

import os
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from sandrun.errors import SandrunError
from sandrun.profile.bad import escaped
from sandrun.profile.diff import optional_paths
from sandrun.profile.find import BUILTIN, SUFFIX, directories
from sandrun.profile.layer import key_of
from sandrun.profile.model import (
    COMMAND_LINE,
    AccessRule,
    BrokerInput,
    BrokerOutput,
    Hidden,
    Origin,
    PathEntry,
    Profile,
    Value,
)
from sandrun.profile.paths import PROFILE_DIR, literal
from sandrun.profile.write import HIDDEN, to_toml

if TYPE_CHECKING:
    from collections.abc import Iterator

OWN_DIRECTORY = f"${{{PROFILE_DIR}}}"
NOTHING = ""
"""The directory of an entry that has been made portable."""


def portable(profile: Profile, directory: str) -> Profile:
    """The same policy for a lock in `directory` (absolute): entries sorted, no values of variables, no lines.

    Where an entry comes from is kept by the name of its file. Raises SandrunError for what is not UTF-8, which no lock
    could tell from other such entries.
    """
    values: dict[str, tuple[Value, ...]] = {}
    for path, several in sorted(profile.values.items()):
        key = key_of(path)
        if key is None:
            raise KeyError(path)
        moved = [_moved(path, value, directory) for value in several]
        values[path] = tuple(sorted(moved, key=lambda value: to_toml(value, key)))
    return Profile(
        name=profile.name,
        layers=tuple(source(layer, directory) for layer in profile.layers),
        values=MappingProxyType(values),
        require=tuple(sorted(profile.require, key=lambda value: str(value.value))),
        optional_flags=frozenset(path for path in optional_paths(profile) if profile.is_optional(path)),
    )


def source(written: str, directory: str) -> str:
    """How a lock in `directory` names a source: by its name if a name finds it, else by its path from there."""
    if written == COMMAND_LINE or written.startswith(BUILTIN):
        return written
    path = os.path.abspath(written)
    if os.path.dirname(path) in directories():
        return escaped(os.path.basename(path).removesuffix(SUFFIX))
    return escaped(os.path.relpath(path, directory))


def _moved(path: str, value: Value, directory: str) -> Value:
    typed = value.value
    if any("\udc80" <= char <= "\udcff" for text in (path, *_texts(typed)) for char in text):
        raise SandrunError(f"cannot be locked: {value.origin}: not UTF-8", hint="rename what it names")
    origin = Origin(source(value.origin.source, directory), path, 0, NOTHING)
    if isinstance(typed, Hidden):
        return Value(Hidden(HIDDEN), origin)
    if isinstance(typed, AccessRule):
        return Value(typed._replace(path=_entry(typed.path, value.origin.directory, directory)), origin)
    if isinstance(typed, PathEntry):
        return Value(_entry(typed, value.origin.directory, directory), origin)
    if isinstance(typed, BrokerInput | BrokerOutput):
        changes = {name: _within(each, value.origin.directory, directory) for name, each in typed._asdict().items()}
        return Value(typed._replace(**changes), origin)
    return Value(typed, origin)


def _within(member: Any, home: str, directory: str, *, is_word: bool = False) -> Any:
    """The same for a member of an input or output; the words of a validator are looked at like paths."""
    if isinstance(member, PathEntry):
        return _entry(member, home, directory)
    if isinstance(member, tuple):
        return tuple(_within(each, home, directory, is_word=True) for each in member)
    if is_word and isinstance(member, str):
        return _entry(PathEntry(member, path=member), home, directory).path
    return member


def _entry(entry: PathEntry, home: str, directory: str) -> PathEntry:
    """The entry with `${PROFILE_DIR}` from where the lock is; `home` is what it means in its own profile."""
    if OWN_DIRECTORY not in entry.path or not home:
        return entry
    if home in directories():
        place = literal(home)
    else:
        way = os.path.relpath(home, directory)
        place = OWN_DIRECTORY if way == "." else f"{OWN_DIRECTORY}/{literal(way)}"
    return entry._replace(text=entry.text.replace(OWN_DIRECTORY, place), path=entry.path.replace(OWN_DIRECTORY, place))


def _texts(typed: object) -> Iterator[str]:
    if isinstance(typed, str) and not isinstance(typed, Hidden):
        yield typed
    elif isinstance(typed, tuple):
        for part in typed:
            yield from _texts(part)
