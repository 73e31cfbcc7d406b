"""Directories that a profile grants, replaced by what below them the test needs, one level at a time.

What the command can make must never name what a later launch grants: a link put there would lead the grant anywhere. So
only names count that were there before the first run and are no links, and no directory is looked at in which the profile
lets the command make entries by another grant. Of a directory that is granted for writing, files become readable at most.
"""

from __future__ import annotations

import os
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from sandrun.errors import ProfileError
from sandrun.profile.diff import LESS, diff
from sandrun.profile.loader import load_text
from sandrun.profile.model import PathEntry
from sandrun.profile.paths import has_wildcard, literal
from sandrun.profile.source import parse, spans
from sandrun.profile.write import string
from sandrun.shrink.edit import append, edit
from sandrun.shrink.grants import GONE, forms
from sandrun.shrink.search import Answers
from sandrun.shrink.work import Shrinking, SpentError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from sandrun.profile.find import Found
    from sandrun.profile.model import Profile, Value
    from sandrun.profile.source import Place
    from sandrun.shrink.work import Attempt

    Locate = Callable[[Value], Sequence[str]]
    Entry = tuple[str, str]

LISTS = ("filesystem.read", "filesystem.write", "filesystem.execute")
MAKING = ("filesystem.write", "filesystem.create", "filesystem.overlay")
HARMLESS = ("@devices", "@tty")
"""Groups in which nothing can be made."""
TEMPORARY = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 (what `filesystem.tmp` is about)
MOST_ENTRIES = 200
"""A directory with more is left as it is."""
MOST_LEFT = 16
"""If more would stand in its stead, the directory says it better."""
MOST_KNOWN = 50_000
"""Names that are looked at before the first run."""


class Tree:
    """What is below some directories now: the names in each, and whether they are directories; links are left out."""

    def __init__(self, tops: Iterable[str]) -> None:
        self._known: dict[str, dict[str, bool]] = {}
        todo, left = deque(tops), MOST_KNOWN
        while todo and left > 0:
            folder = todo.popleft()
            try:
                with os.scandir(folder) as entries:
                    found = {
                        entry.name: entry.is_dir(follow_symlinks=False) for entry in entries if not entry.is_symlink()
                    }
            except OSError:
                continue
            left -= len(found)
            if left >= 0:
                self._known[folder] = found
                todo += (os.path.join(folder, name) for name, is_folder in found.items() if is_folder)

    def names(self, folder: str) -> Mapping[str, bool]:
        return self._known.get(folder, {})


class Narrowed(NamedTuple):
    """What became of a profile. `below`: for an entry (its list, and itself as TOML) what stands in its stead."""

    text: str
    below: Mapping[Entry, tuple[Entry, ...]]
    runs: int
    complete: bool


class _Step(NamedTuple):
    """One directory with all that is in it in its stead. `names`: the new entries, with their paths."""

    text: str
    names: Mapping[Entry, str]


def tops(profile: Profile, found: Found, locate: Locate) -> tuple[str, ...]:
    """The directories that the file itself grants, to be looked at before the first run."""
    values = (value for key in LISTS for value in profile.items(key) if _is_plain(value, found))
    return tuple(dict.fromkeys(path for value in values for path in _paths(value, locate)))


class Narrowing:
    """The work on one profile that was shrunk already."""

    def __init__(self, found: Found, text: str, attempt: Attempt, tree: Tree, locate: Locate) -> None:
        """`text` is what was left of the profile. `locate` gives the paths of an entry."""
        self._found = found
        self._text = text
        self._profile = load_text(found, text)
        self._attempt = attempt
        self._tree = tree
        self._locate = locate

    def run(self, tries: int, repeat: int, tried: dict[str, bool]) -> Narrowed:
        """Narrow what can be, by at most so many runs. `tried` are the answers of earlier work, by profile."""
        text, runs, complete = self._text, 0, True
        below: dict[Entry, tuple[Entry, ...]] = {}
        todo = deque(dict.fromkeys(self._entries(text)))
        while todo and complete:
            entry = todo.popleft()
            step = self._step(text, *entry)
            if not step:
                continue
            work = Shrinking(
                self._found,
                step.text,
                self._checked(step),
                Answers(tried=tried),
                tries - runs,
                repeat=repeat,
                only=step.names,
            )
            left, complete = self._left(work, step)
            runs += work.runs
            if left is not None and len(left) <= MOST_LEFT:
                text = work.final()
                below[entry] = left
                todo += (each for each in left if os.path.isdir(step.names.get(each, "")))
        return Narrowed(text, _flat(below), runs, complete)

    def _left(self, work: Shrinking, step: _Step) -> tuple[tuple[Entry, ...] | None, bool]:
        """The entries that stay instead of the directory, None if they are not enough; and whether all was tried."""
        try:
            if not work.passes():
                return None, True
        except SpentError:
            return None, False
        complete = work.shrink(1).complete
        made = {(grant.key, grant.text): form for grant, form in forms(work.grants, work.taken)}
        if any(map(os.path.islink, step.names.values())):
            return None, complete  # meanwhile: the next launch would grant what it leads to
        left = ((made.get(entry, entry[0]), entry[1]) for entry in step.names)
        return tuple(each for each in left if each[0] != GONE), complete

    def _checked(self, step: _Step) -> Attempt:
        """Nothing of this may be a link by now: the profile that is tried would grant what it leads to."""

        def attempt(profiles: Sequence[Profile]) -> list[bool]:
            if any(os.path.islink(path) for path in step.names.values()):
                return [False] * len(profiles)
            return self._attempt(profiles)

        return attempt

    def _entries(self, text: str) -> Iterator[Entry]:
        for place, (start, end) in sorted(spans(text).values.items(), key=lambda item: item[1]):
            if len(place) == 3 and ".".join(map(str, place[:2])) in LISTS:
                yield f"{place[0]}.{place[1]}", text[start:end]

    def _step(self, text: str, key: str, entry: str) -> _Step | None:
        """None if this is no directory that may be narrowed."""
        place = next((at for at in spans(text).values if _is(at, key, text, entry)), None)
        profile = load_text(self._found, text)
        spelled = _at(parse(text, ""), place) if place else ""
        value = next(
            (value for value in profile.items(key) if _is_plain(value, self._found) and _text(value) == spelled), None
        )
        paths = _paths(value, self._locate) if value else ()
        names = self._tree.names(paths[0]) if len(paths) == 1 else {}
        if not place or not names or len(names) > MOST_ENTRIES or self._is_made_in(profile, paths[0], value):
            return None
        return self._replaced(text, place, spelled, paths[0], self._allowed(profile, paths[0], names))

    def _is_made_in(self, profile: Profile, path: str, own: Value | None) -> bool:
        """Whether another entry lets the command make something in the directory, or above it."""
        real = os.path.realpath(path)
        tmp = profile.scalar("filesystem.tmp")
        if tmp is not None and tmp.value == "host" and any(_is_below(real, top) for top in TEMPORARY):
            return True
        others = [value for key in MAKING for value in profile.items(key) if value is not own]
        for value in others:
            group = getattr(value.value, "group", "")
            if group and group not in HARMLESS:
                return True
            if any(_is_below(real, os.path.realpath(top)) for top in _paths(value, self._locate)):
                return True
        return any(profile.items("filesystem.rules"))

    def _allowed(self, profile: Profile, path: str, names: Mapping[str, bool]) -> dict[str, bool]:
        """Without what a denial names as well, and what TOML cannot say."""
        denied = {each for value in profile.items("filesystem.deny") for each in _paths(value, self._locate)}
        return {
            name: names[name]
            for name in sorted(names)
            if os.path.join(path, name) not in denied
            and name.isprintable()
            and not os.path.islink(os.path.join(path, name))
        }

    def _replaced(self, text: str, place: Place, spelled: str, path: str, names: Mapping[str, bool]) -> _Step | None:
        key = f"{place[0]}.{place[1]}"
        made: dict[Entry, str] = {}
        for name, is_folder in names.items():
            target = "filesystem.read" if key == "filesystem.write" and not is_folder else key
            made[target, string(f"{spelled.rstrip('/')}/{literal(name)}")] = os.path.join(path, name)
        here = [entry for target, entry in made if target == key]
        elsewhere = [entry for target, entry in made if target != key]
        if here:
            start, end = spans(text).values[place]
            line = text[text.rfind("\n", 0, start) + 1 : start]
            between = ", " if line.strip() else f",\n{line}"
            new: str | None = text[:start] + between.join(here) + text[end:]
        else:
            new = edit(text, [place], {}, {})
        if elsewhere and new is not None:
            new = append(new, ("filesystem", "read"), elsewhere)
        if new is None or not made:
            return None
        try:
            changes = diff(self._profile, load_text(self._found, new))
        except ProfileError:
            return None
        return _Step(new, made) if all(change.sign == LESS for change in changes) else None


def _flat(below: Mapping[Entry, tuple[Entry, ...]]) -> dict[Entry, tuple[Entry, ...]]:
    """The same with each entry that was itself narrowed replaced by what stands in its stead."""

    def last(entry: Entry) -> tuple[Entry, ...]:
        return tuple(end for each in below[entry] for end in last(each)) if entry in below else (entry,)

    inner = {each for entries in below.values() for each in entries}
    return {entry: last(entry) for entry in below if entry not in inner}


def _is_plain(value: Value, found: Found) -> bool:
    entry = value.value
    if not isinstance(entry, PathEntry) or value.origin.source != found.source:
        return False
    return not (entry.group or entry.optional or has_wildcard(entry))


def _text(value: Value) -> str:
    return str(getattr(value.value, "text", ""))


def _paths(value: Value, locate: Locate) -> Sequence[str]:
    try:
        return locate(value)
    except ProfileError:
        return ()


def _is(place: Place, key: str, text: str, entry: str) -> bool:
    return len(place) == 3 and ".".join(map(str, place[:2])) == key and text[slice(*spans(text).values[place])] == entry


def _at(data: Mapping[str, object], place: Place) -> str:
    found: object = data
    for part in place:
        found = found[part]  # type: ignore[index]
    return str(found)


def _is_below(path: str, top: str) -> bool:
    return path == top or path.startswith(top.rstrip("/") + "/")
