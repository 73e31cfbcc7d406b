"""What a profile's file inherits by `extends`, written out in the file itself, so that some of it can be left out.

A key is written out as `replace = [KEY]` and its own list of all that it inherited and had.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandrun.errors import ProfileError
from sandrun.profile.diff import GRANTS, diff
from sandrun.profile.keys import BY_PATH
from sandrun.profile.loader import load_text
from sandrun.profile.source import spans
from sandrun.profile.write import to_toml
from sandrun.shrink.edit import append
from sandrun.shrink.grants import KEPT_LISTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sandrun.profile.find import Found
    from sandrun.profile.model import Profile, Value

    Inherited = Mapping[str, Mapping[str, str]]


def inherited(profile: Profile, own: Found) -> Inherited:
    """By list key, what other files than `own` grant, as TOML, each with its origin.

    A list that may be lost where the kernel cannot keep it is left out: written out, it no longer might.
    """
    found = {}
    for path in GRANTS:
        values = [value for value in profile.items(path) if value.origin.source != own.source]
        if values and path not in KEPT_LISTS and not profile.is_optional(path):
            found[path] = {to_toml(_near(value, own), BY_PATH[path]): str(value.origin) for value in values}
    return found


def _near(value: Value, own: Found) -> Value:
    """The value with its ${PROFILE_DIR} left as it is if that is the same place in the file itself."""
    same = value.origin.directory == own.directory
    return value._replace(origin=value.origin._replace(directory="")) if same else value


def spell_out(found: Found, text: str, lists: Inherited) -> str:
    """The text with these lists written out, as far as its layout lets it and nothing else changes by it."""
    profile = load_text(found, text)
    for path, entries in lists.items():
        spelled = append(text, tuple(path.split(".")), entries)
        if spelled is None:
            continue
        spelled = append(spelled, ("replace",), [f'"{path}"'], behind=("extends",))
        try:
            if spelled is not None and not diff(profile, load_text(found, spelled)):
                text = spelled
        except ProfileError:
            continue
    return text


def count(text: str, path: str) -> int:
    """How many entries the text itself has in a list."""
    place = tuple(path.split("."))
    return sum(1 for each in spans(text).values if each[:-1] == place)


def touched(lists: Inherited, keys: Iterable[str]) -> Inherited:
    """Those of the lists that have these keys."""
    return {path: lists[path] for path in lists if path in set(keys)}
