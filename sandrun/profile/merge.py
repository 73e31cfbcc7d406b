"""The laws of composing profiles.

`merge` is associative, has the empty Profile as identity and gives the same for a profile with itself: grants and
`require` are united in order, later scalars win, tables follow that name by name. `drop` is `replace`. The only
contradiction between layers is `syscalls.default`: which syscalls are allowed must not depend on their order.
"""

from __future__ import annotations

from sandrun.errors import Problem, ProfileError
from sandrun.named import MappingProxyType
from sandrun.profile.bad import quoted
from sandrun.profile.keys import BY_PATH, TABLE, UNION
from sandrun.profile.model import AccessRule, BrokerInput, BrokerOutput, PathEntry, Profile, Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

EMPTY = Profile("")
ONE_ANSWER = ("syscalls.default",)
GRANTED_AND_DENIED: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        (
            "filesystem.read",
            "filesystem.write",
            "filesystem.create",
            "filesystem.execute",
            "filesystem.rules",
            "filesystem.overlay",
        ),
        "filesystem.deny",
    ),
    (("filesystem.write", "filesystem.create"), "filesystem.deny_write"),
    (("network.connect", "network.bind"), "network.deny"),
    (("syscalls.allow",), "syscalls.deny"),
    (("environment.pass",), "environment.unset"),
)


def merge(base: Profile, over: Profile) -> Profile:
    """`base` with `over` on top.

    Raises ProfileError if both state `syscalls.default` and differ.
    """
    for key in ONE_ANSWER:
        ours, theirs = base.scalar(key), over.scalar(key)
        if ours is not None and theirs is not None and ours.value != theirs.value:
            message = f"{quoted(str(theirs.value))} contradicts {quoted(str(ours.value))} of {ours.origin}"
            hint = f'replace = ["{key}"], or --replace {key}, drops the earlier one'
            raise ProfileError([Problem(str(theirs.origin), message, hint)])
    values = dict(base.values)
    for key, several in over.values.items():
        values[key] = unite(values.get(key, ()), several) if _is_list(key) else several
    asked = dict(base.asked)
    for key, several in over.asked.items():
        asked[key] = tuple(dict.fromkeys((*asked.get(key, ()), *several)))
    return Profile(
        name=over.name or base.name,
        description=over.description or base.description,
        layers=tuple(dict.fromkeys(base.layers + over.layers)),
        values=MappingProxyType(values),
        asked=MappingProxyType(asked),
        require=unite(base.require, over.require),
        replaced=tuple(dict.fromkeys(base.replaced + over.replaced)),
        optional_flags=base.optional_flags | over.optional_flags,
    )


def drop(profile: Profile, keys: Sequence[Value]) -> Profile:
    """`profile` without what it says for `keys` (key paths); a table of names goes as a whole or by name.

    Those that took effect are recorded in `replaced`.
    """
    gone = {str(key.value): key for key in keys}
    effective = [value for key, value in gone.items() if any(_is_below(name, key) for name in profile.values)]
    if not effective:
        return profile
    dropped = tuple(str(value.value) for value in effective)
    return profile._replace(
        values=_without(profile.values, dropped),
        asked=_without(profile.asked, dropped),
        replaced=tuple(dict.fromkeys((*profile.replaced, *effective))),
    )


def unite(first: Iterable[Value], second: Iterable[Value]) -> tuple[Value, ...]:
    """The values of both in order; a repeated one keeps its first place and origin."""
    united: dict[object, Value] = {}
    for value in (*first, *second):
        united.setdefault(_identity(value), value)
    return tuple(united.values())


def contradictions(values: Mapping[str, tuple[Value, ...]]) -> list[Problem]:
    """The entries that one layer both grants and denies."""
    problems = []
    for granting, denying in GRANTED_AND_DENIED:
        denied = {_entry(value): value for value in values.get(denying, ())}
        granted = [value for key in granting for value in values.get(key, ())] if denied else []
        if denying == "environment.unset":
            granted += [
                Value(key.removeprefix("environment.set."), several[-1].origin)
                for key, several in values.items()
                if key.startswith("environment.set.") and several
            ]
        for value in granted:
            clash = denied.get(_entry(value))
            if clash is not None:
                message = f"both granted and denied in one file: {quoted(_text(value))} is also in {clash.origin.key}"
                problems.append(Problem(str(value.origin), message, "remove one of the two"))
    return problems


def _is_list(key: str) -> bool:
    declared = BY_PATH.get(key)
    return declared is not None and declared.merge == UNION


def _is_below(name: str, key: str) -> bool:
    return name == key or (name.startswith(key + ".") and key in BY_PATH and BY_PATH[key].merge == TABLE)


def _without(values: Mapping[str, tuple[Value, ...]], keys: Iterable[str]) -> Mapping[str, tuple[Value, ...]]:
    return MappingProxyType(
        {name: several for name, several in values.items() if not any(_is_below(name, key) for key in keys)}
    )


def _identity(value: Value) -> object:
    """What makes two entries the same one. `${PROFILE_DIR}` is another place in another profile."""
    entry = value.value.path if isinstance(value.value, AccessRule) else value.value
    if isinstance(entry, BrokerInput | BrokerOutput) or (
        isinstance(entry, PathEntry) and "${PROFILE_DIR}" in entry.path
    ):
        return value.value, value.origin.directory
    return value.value


def _entry(value: Value) -> object:
    """What an entry names, however it is spelled: `/srv/` is `/srv`, and `x?` is `x`."""
    entry = value.value.path if isinstance(value.value, AccessRule) else value.value
    if not isinstance(entry, PathEntry) or entry.group:
        return getattr(entry, "text", entry)
    names = [name for name in entry.path.split("/") if name not in ("", ".")]
    return entry.path.startswith("/"), tuple(names)


def _text(value: Value) -> str:
    entry = value.value.path if isinstance(value.value, AccessRule) else value.value
    return str(getattr(entry, "text", entry))
