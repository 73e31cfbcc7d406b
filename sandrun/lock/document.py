"""A lock as text, and back: TOML that reads as the profile would if all of it stood in one file.

One entry a line and everything sorted, so that a change of the policy is a change of as many lines. Behind each entry
stands the file that it comes from; these comments are for people and are not compared.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from sandrun.errors import Problem, ProfileError, SandrunError
from sandrun.lock.uses import Uses
from sandrun.profile.diff import diff
from sandrun.profile.layer import read_document
from sandrun.profile.source import UnreadableError, parse, read
from sandrun.profile.source import lines as lines_of
from sandrun.profile.write import string, tables

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sandrun.profile.model import Profile
    from sandrun.profile.source import Place

VERSION = 1
OWN = ("lock", "sandrun", "meaning", "used")
"""What a lock has that a profile has not."""
FOREIGN = ("schema", "description", "extends", "replace")
"""What a profile has that a lock has not."""


class Lock(NamedTuple):
    """`profile` is portable. `uses` is None where no run was recorded."""

    profile: Profile
    version: str
    """Of the sandrun that made it."""
    meanings: Mapping[str, str]
    uses: Uses | None = None


def changes(before: Lock, now: Lock) -> list[str]:
    """What the policy allows more (+), less (-) or otherwise (~) now, one line each; none if it is the same."""
    lines = [f"{change.sign} {change.text}" for change in diff(before.profile, now.profile, exact=True)]
    versions = f" (sandrun {before.version}, now {now.version})" if before.version != now.version else ""
    for name, digest in now.meanings.items():
        if before.meanings.get(name, digest) != digest:
            lines.append(f"~ {name} means something else than when it was locked{versions}")
    if not lines and before.meanings.keys() != now.meanings.keys():
        lines.append("~ [meaning] has other names than the policy")
    return lines


def text(lock: Lock) -> str:
    """The whole file."""
    profile = lock.profile
    head = [
        "# Made by `sandrun lock`: what the profile comes to, and what its runs used. Review a change of it as one of the",
        "# profile. `sandrun --locked` holds a run to it; `sandrun lock` writes it anew.",
        f"# Layers: {', '.join(profile.layers) or 'none'}",
        "",
        f"lock = {VERSION}",
        f"sandrun = {string(lock.version)}",
        *_array("optional", sorted(profile.optional_flags)),
        *_array("require", [str(value.value) for value in profile.require]),
    ]
    lines = [*head, *tables(profile.values, lambda value: value.origin.source)]
    if lock.meanings:
        lines += ["", "[meaning]", *(f"{string(name)} = {string(digest)}" for name, digest in lock.meanings.items())]
    if lock.uses is not None:
        found = lock.uses._asdict()
        used = [line for name, words in found.items() if words is not None for line in _array(name, words)]
        lines += ["", "[used]", *used]
    return "\n".join(lines) + "\n"


def _array(name: str, items: Iterable[str]) -> list[str]:
    lines = [f"    {string(item)}," for item in items]
    return [f"{name} = [", *lines, "]"] if lines else [f"{name} = []"]


def load(path: str, shown: str) -> Lock:
    """The lock in a file. Raises ProfileError with every problem of it, SandrunError if it cannot be read."""
    try:
        document = read(path, shown)
    except UnreadableError as error:
        why = error.problems[0].message.rpartition(": ")[2]
        raise SandrunError(f"cannot read the lock: {shown}: {why}", hint="`sandrun lock FILE` makes it") from None
    return _lock(document.data, shown, document.lines)


def parse_text(text: str, shown: str) -> Lock:
    """The lock in a text. Raises ProfileError."""
    return _lock(parse(text, shown), shown, lines_of(text))


def _lock(data: Mapping[str, object], shown: str, lines: Mapping[Place, int]) -> Lock:
    own = {name: data.get(name) for name in OWN}
    if own["lock"] != VERSION or isinstance(own["lock"], bool) or not isinstance(own["sandrun"], str):
        raise _problem(shown, f"not a lock that this sandrun can read: it reads lock = {VERSION}")
    rest = {name: value for name, value in data.items() if name not in OWN}
    layer, problems = read_document(rest, shown, "", lines, merged=True)
    foreign = [name for name in FOREIGN if name in rest]
    problems += [Problem(f"{shown}: {name}", "a lock stands for itself") for name in foreign]
    if problems:
        raise ProfileError(problems)
    flags = frozenset(str(value.value) for value in layer.optional)
    profile = layer.profile._replace(asked=MappingProxyType({}), optional_flags=flags)
    return Lock(profile, own["sandrun"], _meanings(own["meaning"], shown), _uses(own["used"], shown))


def _problem(shown: str, message: str) -> ProfileError:
    return ProfileError([Problem(shown, message, "`sandrun lock FILE` writes it anew once this one is removed")])


def _meanings(raw: object, shown: str) -> dict[str, str]:
    found = {} if raw is None else raw
    if not isinstance(found, dict) or not all(isinstance(digest, str) for digest in found.values()):
        raise _problem(f"{shown}: meaning", "not a table of digests")
    return {str(name): str(digest) for name, digest in found.items()}


def _uses(raw: object, shown: str) -> Uses | None:
    if raw is None:
        return None
    if not isinstance(raw, dict) or raw.keys() | {"denied"} != set(Uses._fields):
        raise _problem(f"{shown}: used", "not a table of connected, refused and perhaps denied")
    return Uses(**{name: _words(words, f"{shown}: used.{name}") for name, words in raw.items()})


def _words(raw: object, where: str) -> tuple[str, ...]:
    if not isinstance(raw, list) or not all(isinstance(word, str) for word in raw):
        raise _problem(where, "not an array of strings")
    return tuple(str(word) for word in raw)
