"""A profile that was there → with what a further run needs. Pure, over a Host."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import tomli

from sandrun.errors import ProfileError
from sandrun.learn import text
from sandrun.learn.collapse import cover
from sandrun.learn.tiers import is_below
from sandrun.learn.uses import CHANGE, ENTER, MAKE, WRITE
from sandrun.profile.layer import read_flags
from sandrun.profile.model import PathEntry
from sandrun.profile.paths import expand

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sandrun.learn.compose import Result
    from sandrun.learn.derive import Scene
    from sandrun.learn.uses import Use
    from sandrun.profile.layer import Layer
    from sandrun.profile.model import Profile

READ, WRITTEN, CREATED, EXECUTED = (f"filesystem.{name}" for name in ("read", "write", "create", "execute"))
COVERED_BY = {
    READ: (READ, WRITTEN, CREATED, EXECUTED),
    WRITTEN: (WRITTEN, CREATED),
    CREATED: (WRITTEN, CREATED),
    EXECUTED: (EXECUTED,),
}
"""Writing includes reading, and so does executing."""
KEPT = "filesystem.deny_write"
LISTS = ("network.connect", "network.bind", "network.unix", "syscalls.allow", "environment.pass")
_CHANGING = (WRITE, CHANGE, MAKE, ENTER)


class Old(NamedTuple):
    """The profile that was there: what the file says, its text, and what it means with all that it extends."""

    layer: Layer
    written: str
    effective: Profile


def merge(old: Old, new: Result, uses: Iterable[Use], scene: Scene) -> Result:
    """The old profile with those lines of the new one that it does not cover.

    Comments behind entries and at the top of the file stay. What this run wrote is no longer held read-only; what it
    only read is not held so either, since an earlier run may have written it.
    """
    changed = [use.path for use in uses if use.done in _CHANGING]
    lines = [
        line
        for line in text.lines_of(old.layer.profile.values, text.comments_of(old.layer, old.written))
        if line.key != KEPT or not any(is_below(path, top) for top in _places(line, scene) for path in changed)
    ]
    have = {(line.key, line.toml) for line in text.lines_of(old.effective.values, {})}
    granted = {key: _granted(old.effective, key, scene) for key in COVERED_BY}
    for line in new.lines:
        if line.key == KEPT or (line.key, line.toml) in have:
            continue
        if line.key in COVERED_BY:
            places = _places(line, scene)
            if not places or not all(any(cover(path, granted[key]) for key in COVERED_BY[line.key]) for path in places):
                lines.append(line)
        elif line.key in LISTS or line.key not in old.effective.values:
            lines.append(line)
        elif line.key == "filesystem.home" and "private" in line.toml:
            # It was hidden as long as no run used it.
            lines = [line if each.key == line.key and "hidden" in each.toml else each for each in lines]
    head = text.head_of(old.layer, old.written)
    more = [comment for comment in new.head.comments if comment not in head.comments]
    return new._replace(head=head._replace(comments=(*head.comments, *more)), lines=tuple(lines))


def _granted(profile: Profile, key: str, scene: Scene) -> Mapping[str, None]:
    """What a list stands for here: canonical paths, and groups by name."""
    found: dict[str, None] = {}
    for value in profile.items(key):
        entry = value.value
        if isinstance(entry, PathEntry) and entry.group:
            found[entry.group] = None
        elif isinstance(entry, PathEntry):
            try:
                paths = expand(value, scene.host, scene.home)
            except ProfileError:
                continue
            found |= dict.fromkeys(scene.host.realpath(path) for path in paths)
    return found


def _places(line: text.Line, scene: Scene) -> list[str]:
    """What the entry of one line stands for here."""
    profile, problems = read_flags([(line.key, tomli.loads(f"entry = {line.toml}")["entry"], "")])
    return [] if problems else list(_granted(profile, line.key, scene))
