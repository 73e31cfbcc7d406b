"""Lines of a learned profile ↔ TOML text: entries in the order of the declaration of keys, each with its evidence behind it.

A comment may hold what the command chose, a program's name for one, so nothing of it can end the line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sandrun.profile.keys import KEYS, TABLE, UNION
from sandrun.profile.layer import SCHEMA, key_of
from sandrun.profile.model import Origin, Value
from sandrun.profile.source import spans
from sandrun.profile.values import READERS, from_text
from sandrun.profile.write import string, to_toml
from sandrun.report import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sandrun.profile.layer import Layer

LONGEST_COMMENT = 110


class Line(NamedTuple):
    """One value of a key path (`filesystem.read`, `rlimits.core`), as TOML, and why it is there."""

    key: str
    toml: str
    comment: str = ""


class Head(NamedTuple):
    """What stands above the tables."""

    comments: tuple[str, ...] = ()
    description: str = ""
    lists: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """`extends`, `replace`, `optional` and `require`, with their items."""


def line(key: str, text: str, comment: str = "") -> Line:
    """The line of a value that is written as on a command line. Raises Bad if it is none."""
    declared = key_of(key)
    if declared is None:
        raise KeyError(key)
    if declared.merge == TABLE:
        return Line(key, text, comment)
    (value,) = READERS[declared.kind](from_text(text, declared), declared)
    return Line(key, to_toml(Value(value, Origin("", key)), declared), comment)


def lines_of(values: Mapping[str, tuple[Value, ...]], comments: Mapping[Origin, str]) -> list[Line]:
    """The lines of typed values."""
    found = []
    for key, several in values.items():
        declared = key_of(key)
        if declared is not None:
            found += [Line(key, to_toml(value, declared), comments.get(value.origin, "")) for value in several]
    return found


def comments_of(layer: Layer, text: str) -> dict[Origin, str]:
    """What stands behind each value of a file, on its line."""
    found: dict[str, str] = {}
    for place, (_, end) in spans(text).values.items():
        rest = text[end:].partition("\n")[0].lstrip(" \t,]}")
        if rest.startswith("#"):
            found["".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)[1:]] = rest[
                1:
            ].strip()
    origins = (value.origin for several in layer.profile.values.values() for value in several)
    return {origin: found[origin.key] for origin in origins if origin.key in found}


def head_of(layer: Layer, text: str) -> Head:
    """What stands above the tables of a file: its first comments, and the keys."""
    comments = []
    for row in text.splitlines():
        if not row.startswith("#"):
            break
        comments.append(row[1:].strip())
    pairs = (("extends", layer.extends), ("replace", layer.replace), ("optional", layer.optional))
    lists = tuple((name, tuple(str(value.value) for value in values)) for name, values in pairs if values)
    require = tuple(str(value.value) for value in layer.profile.require)
    return Head(tuple(comments), layer.profile.description, (*lists, *((("require", require),) if require else ())))


def render(head: Head, lines: Sequence[Line]) -> str:
    """The text of the profile."""
    rows = [f"# {_comment(comment)}".rstrip() for comment in head.comments]
    rows.append(f"schema = {SCHEMA}")
    rows += [f"description = {string(head.description)}"] if head.description else []
    rows += [f"{name} = [{', '.join(map(string, items))}]" for name, items in head.lists if items]
    table = ""
    for key in KEYS:
        of_key = [each for each in lines if each.key == key.path or _is_named(each.key, key.path)]
        if of_key and key.table != table:
            table = key.table
            rows += ["", f"[{table}]"]
        rows += _rows(key.path.partition(".")[2], of_key, is_list=key.merge == UNION)
    return "\n".join(rows) + "\n"


def _is_named(path: str, table: str) -> bool:
    declared = key_of(path)
    return declared is not None and declared.merge == TABLE and declared.path == table


def _rows(name: str, lines: Iterable[Line], *, is_list: bool) -> list[str]:
    lines = list(dict.fromkeys(lines))
    if is_list and lines:
        if len(lines) == 1:
            return [f"{name} = [{lines[0].toml}]{_behind(lines[0])}"]
        return [f"{name} = [", *(f"    {each.toml},{_behind(each)}" for each in lines), "]"]
    return [f"{name or each.key.rpartition('.')[2]} = {each.toml}{_behind(each)}" for each in lines]


def _behind(each: Line) -> str:
    return f"  # {_comment(each.comment)}" if each.comment else ""


def _comment(text: str) -> str:
    text = printable(text)
    return text if len(text) <= LONGEST_COMMENT else text[: LONGEST_COMMENT - 1] + "…"
