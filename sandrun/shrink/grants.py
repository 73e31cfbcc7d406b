"""What a profile's own file grants, each grant with the steps in which it can become less, and the text after such steps.

Only grants are looked at. What denies or limits would seem needless to every test, and stays as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sandrun.profile.diff import GRANTS
from sandrun.profile.layer import dotted
from sandrun.profile.source import lines, parse, spans
from sandrun.shrink.edit import edit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sandrun.profile.source import Place

GONE = ""
KEPT_LISTS = frozenset(("filesystem.overlay", "filesystem.rules"))
"""Without an overlay, another grant may reach the directory itself. Of a rule, each right is a grant of its own."""
NARROWER: Mapping[str, tuple[str, ...]] = {
    # list: lists of the same table that grant less of the same, from the next to the least
    "filesystem.write": ("filesystem.read",),
    "filesystem.execute": ("filesystem.read",),
    "privileges.ambient": ("privileges.capabilities",),
}
STRICTER: Mapping[str, tuple[object, ...]] = {
    # scalar: its values from the loosest to the strictest that it is worth trying
    "filesystem.tmp": ("host", "private"),
    "filesystem.home": ("host", "private", "hidden"),
    "filesystem.proc": ("host", "own", "none"),
    "filesystem.dev": ("host", "minimal"),
    "network.loopback": (True, False),
    "syscalls.default": ("allow", "log", "errno"),
    "privileges.no_new_privs": (False, True),
    "process.isolate": (False, "signals", True),
    "process.tty": ("inherit", "protected"),
}


class Grant(NamedTuple):
    """One thing that the file grants.

    `forms` are what can become of it, from as it is written to the least: for an entry of a list the key paths of lists,
    then GONE; for a scalar its values as TOML.
    """

    place: Place
    text: str
    line: int
    forms: tuple[str, ...]
    rule: str = ""
    """The path of a rule whose right this is."""
    inherited: str = ""
    """Where it stands, if not in the file itself."""

    @property
    def key(self) -> str:
        return ".".join(str(part) for part in self.place[:2])


def grants(text: str) -> tuple[Grant, ...]:
    """What a profile's text grants and could grant less of, in its order. The text has to be a valid profile."""
    data = parse(text, "")
    found, at = spans(text), lines(text)

    def make(place: Place, forms: tuple[str, ...], rule: str = "") -> Grant:
        return Grant(place, text[slice(*found.values[place])], at.get(place, 0), forms, rule)

    made = [make(*each) for each in _forms(data) if each[0] in found.values]
    return tuple(sorted(made, key=lambda grant: found.values[grant.place]))


def _forms(data: Mapping[str, object]) -> Iterator[tuple[Place, tuple[str, ...], str]]:
    for table, keys in data.items():
        for name, value in keys.items() if isinstance(keys, dict) else ():
            path = f"{table}.{name}"
            if path == "filesystem.rules":
                yield from _rights(value)
            elif path in GRANTS and path not in KEPT_LISTS:
                for index in range(len(value)):
                    yield (table, name, index), (path, *NARROWER.get(path, ()), GONE), ""
            elif value in STRICTER.get(path, ())[:-1]:
                known = STRICTER[path]
                less = known[_index(known, value) :]
                yield (table, name), tuple(_toml(each) for each in less), ""


def _rights(rules: object) -> Iterator[tuple[Place, tuple[str, ...], str]]:
    """Each access right of the rules; not of those that show a path elsewhere, since they hide what is there."""
    for index, rule in enumerate(rules if isinstance(rules, list) else ()):
        if "at" not in rule:
            for number in range(len(rule["access"])):
                yield ("filesystem", "rules", index, "access", number), ("filesystem.rules", GONE), rule["path"]


def _index(values: Sequence[object], value: object) -> int:
    return next(number for number, each in enumerate(values) if each == value and type(each) is type(value))


def _toml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else f'"{value}"'


def ladders(found: Sequence[Grant]) -> tuple[tuple[int, ...], ...]:
    """A number for every step that a grant can become less by, in order, for each grant."""
    made = []
    first = 0
    for grant in found:
        made.append(tuple(range(first, first + len(grant.forms) - 1)))
        first += len(grant.forms) - 1
    return tuple(made)


def forms(found: Sequence[Grant], taken: frozenset[int]) -> Iterator[tuple[Grant, str]]:
    """What each grant has become once the steps of these numbers are taken."""
    for grant, ladder in zip(found, ladders(found), strict=True):
        yield grant, grant.forms[len(taken.intersection(ladder))]


def render(text: str, found: Sequence[Grant], taken: frozenset[int]) -> str:
    """The profile's text once these steps are taken."""
    removed: set[Place] = set()
    moved: dict[Place, Place] = {}
    put: dict[Place, str] = {}
    for grant, form in forms(found, taken):
        if form == grant.forms[0]:
            continue
        if not isinstance(grant.place[-1], int):
            put[grant.place] = form
        elif form == GONE:
            removed.add(grant.place)
        else:
            moved[grant.place] = tuple(form.split("."))
    return edit(text, _whole_rules(found, removed), moved, put)


def _whole_rules(found: Sequence[Grant], removed: set[Place]) -> set[Place]:
    """The same with a rule as a whole where all its rights go: one without any is an error."""
    rights: dict[Place, set[Place]] = {}
    for grant in found:
        if grant.rule:
            rights.setdefault(grant.place[:3], set()).add(grant.place)
    for rule, places in rights.items():
        if places <= removed:
            removed = (removed - places) | {rule}
    return removed


def where(source: str, grant: Grant) -> str:
    """The place of a grant as messages give it: `app.toml:5: filesystem.read[2]`."""
    return grant.inherited or f"{source}:{grant.line}: {dotted(grant.place)}"
