"""Changes to the text of a profile that leave everything else as it is: comments, order, spelling, ends of lines.

Entries are taken out of arrays, moved from one array of a table to another, and scalars are replaced. A comment behind
an entry that has a line of its own belongs to the entry and goes where it goes; every other comment stays.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from sandrun.profile.source import Spans, spans

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from sandrun.profile.source import Place

    Splice = tuple[int, int, str]

WIDTH = 100
INDENT = "    "
_BLANK = " \t\r"
_REST_OF_LINE = re.compile(r"[ \t\r]*(#[^\n]*)?(?:\n|\Z)")
_GAP = re.compile(r"(?:[ \t\r\n]|#[^\n]*(?:\n|\Z))*")


class _Item(NamedTuple):
    """An entry on its way to another array: as it was written, and the comment that goes with it."""

    text: str
    comment: str


def edit(text: str, removed: Collection[Place], moved: Mapping[Place, Place], put: Mapping[Place, str]) -> str:
    """The text of a profile without the array entries `removed`, with `moved` ones in another array, and new scalars.

    `moved` names for an entry the key of its new array, in the same table; `put` has the TOML of a new value. What
    moves to an array that has an equal text already is not repeated. The text has to be valid TOML.
    """
    found = spans(text)
    arriving: dict[tuple[Place, Place], list[_Item]] = {}
    for place in sorted(moved, key=lambda place: found.values[place]):
        start, end = found.values[place]
        item = _Item(text[start:end], _own_comment(text, start, end))
        arriving.setdefault((moved[place], place[:-1]), []).append(item)
    splices: list[Splice] = [(*found.values[place], new) for place, new in put.items()]
    text = _without(text, found, [*removed, *moved], splices)
    for (target, source), items in arriving.items():
        text = _with(text, target, source, items)
    return text


def append(text: str, target: Place, entries: Iterable[str], behind: Place = ()) -> str | None:
    """The text with entries (TOML) at the end of the list `target`, or None if there is no place for a new list.

    A new list stands behind the key `behind`, else behind the last key of its table, else in a new table.
    """
    items = [_Item(entry, "") for entry in entries]
    found = spans(text)
    newline = "\r\n" if "\r\n" in text else "\n"
    if target in found.values:
        return _with(text, target, target, items)
    keys = [behind] if behind else sorted(found.keys, key=lambda key: found.keys[key])
    siblings = [key for key in keys if key in found.values and len(key) == len(target) and key[:-1] == target[:-1]]
    if siblings:
        return _with_new(text, found, target, siblings[-1], items, newline)
    if behind or target[:1] in found.values:
        return None
    statement = f"{target[-1]} = {_array(items, newline)}{newline}"
    if target[:-1] in found.keys:
        start = _rest(text, found.keys[target[:-1]][1]).end()
        return text[:start] + newline * (text[start - 1] != "\n") + statement + text[start:]
    end = "" if text.endswith("\n") else newline
    return f"{text}{end}{newline}[{'.'.join(map(str, target[:-1]))}]{newline}{statement}"


def on_one_line(text: str, places: Iterable[Place]) -> str:
    """The text with these arrays on one line each, where one is enough and no comment stands in them."""
    for place in places:
        found = spans(text)
        start, end = found.values[place]
        items = sorted(span for inner, span in found.values.items() if inner[:-1] == place)
        edges = [start, *(edge for item in items for edge in item), end]
        gaps = "".join(text[after:before] for after, before in zip(edges[::2], edges[1::2], strict=True))
        line = f"[{', '.join(text[slice(*item)] for item in items)}]"
        if "#" not in gaps and start - _line_start(text, start) + len(line) <= WIDTH:
            text = text[:start] + line + text[end:]
    return text


# --- taking out ----------------------------------------------------------------------------------------------------


def _without(text: str, found: Spans, places: Iterable[Place], splices: Iterable[Splice]) -> str:
    """The text after the splices and without the entries; from the back, so that what is in front keeps its place."""
    todo: list[tuple[int, int, str | None, Place]] = [(start, end, new, ()) for start, end, new in splices]
    for place in places:
        start, end = _block(text, found, place) if _is_table(text, found, place) else found.values[place]
        todo.append((start, end, "" if _is_table(text, found, place) else None, place))
    for start, end, new, _ in sorted(todo, key=lambda one: one[:2], reverse=True):
        text = _take_out(text, start, end) if new is None else text[:start] + new + text[end:]
    arrays = {place[:-1] for _, _, new, place in todo if new is None}
    found = spans(text)
    for start, end in sorted((found.values[array] for array in arrays), reverse=True):
        if not text[start + 1 : end - 1].strip():
            text = text[:start] + "[]" + text[end:]
    return text


def _is_table(text: str, found: Spans, place: Place) -> bool:
    """Whether this entry of an array of tables has a `[[header]]`."""
    return place in found.keys and text.startswith("[[", found.keys[place][0])


def _block(text: str, found: Spans, place: Place) -> tuple[int, int]:
    """From the `[[header]]` to the end of its last line; what comes behind may be about the next one."""
    start, end = found.keys[place]
    end = max([end, *(stop for inner, (_, stop) in found.values.items() if inner[: len(place)] == place)])
    return _line_start(text, start), _rest(text, end).end()


def _take_out(text: str, start: int, end: int) -> str:
    """The text without one entry of an array, its comma, and its line if it has one of its own."""
    after = _skip(text, end)
    has_comma = text[after : after + 1] == ","
    tail = after + 1 if has_comma else end
    later = _end_of_gap(text, end)
    if not has_comma and text[later : later + 1] == ",":
        return text[:start] + text[end:later] + text[later + 1 :]
    if _is_alone(text, start, end):
        return text[: _line_start(text, start)] + text[_rest(text, tail).end() :]
    before = start
    while text[before - 1] in _BLANK:
        before -= 1
    rest = text[_skip(text, tail) :]
    if has_comma:
        return text[: before if rest[:1] == "]" else start] + rest
    return text[: before - 1 if text[before - 1] == "," else start] + text[end:]


def _is_alone(text: str, start: int, end: int) -> bool:
    """Whether nothing but a comma and a comment shares the lines of an entry."""
    after = _skip(text, end)
    tail = after + 1 if text[after : after + 1] == "," else end
    return not text[_line_start(text, start) : start].strip() and _REST_OF_LINE.match(text, tail) is not None


def _own_comment(text: str, start: int, end: int) -> str:
    if not _is_alone(text, start, end):
        return ""
    after = _skip(text, end)
    comment = _rest(text, after + 1 if text[after : after + 1] == "," else end)[1]
    return (comment or "").rstrip()


def _line_start(text: str, at: int) -> int:
    return text.rfind("\n", 0, at) + 1


def _rest(text: str, at: int) -> re.Match[str]:
    """What is left of a line, which is nothing but a comment."""
    found = _REST_OF_LINE.match(text, at)
    assert found is not None  # noqa: S101 (the caller looked)
    return found


def _skip(text: str, at: int) -> int:
    while text[at : at + 1] and text[at] in _BLANK:
        at += 1
    return at


def _end_of_gap(text: str, at: int) -> int:
    found = _GAP.match(text, at)
    return found.end() if found else at


# --- putting in ----------------------------------------------------------------------------------------------------


def _with(text: str, target: Place, source: Place, items: list[_Item]) -> str:
    """The text with the entries at the end of the array `target`, made behind the array `source` if need be."""
    found = spans(text)
    newline = "\r\n" if "\r\n" in text else "\n"
    if target not in found.values:
        return _with_new(text, found, target, source, items, newline)
    start, end = found.values[target]
    count = sum(1 for place in found.values if place[:-1] == target)
    there = {text[slice(*found.values[*target, index])] for index in range(count)}
    items = [item for item in items if item.text not in there]
    if not items:
        return text
    if not count:
        inner = text[start + 1 : end - 1].rstrip(" \t\r\n")
        return text[:start] + _array(items, newline, inner) + text[end:]
    first, last = found.values[*target, count - 1]
    before = text[_line_start(text, first) : first]
    comma = _end_of_gap(text, last)
    is_below = text[comma] == "," and "\n" in text[last:comma]
    if not before.strip() and not is_below:
        return _on_lines(text, last, items, newline + before)
    if any(item.comment for item in items):
        return text[:last] + _commas_first(items, newline) + text[last:]
    return text[:last] + "".join(f", {item.text}" for item in items) + text[last:]


def _commas_first(items: list[_Item], newline: str) -> str:
    """Entries with comments behind one that shares its line: each on its own, and the rest of the line below them."""
    lines = [f"{INDENT}{item.text}{',' * (number < len(items))}{_behind(item)}" for number, item in enumerate(items, 1)]
    return "," + newline + newline.join(lines) + newline


def _on_lines(text: str, last: int, items: list[_Item], indent: str) -> str:
    """Each entry on a line of its own, behind the last one there, which ends at `last`."""
    after = _skip(text, last)
    has_comma = text[after : after + 1] == ","
    rest = _REST_OF_LINE.match(text, after + 1 if has_comma else last)
    lines = "".join(f"{indent}{item.text},{_behind(item)}" for item in items)
    if rest is None:  # the bracket closes on this line
        at = after + 1 if has_comma else last
        return text[:at] + "," * (not has_comma) + lines + indent[: indent.index("\n") + 1] + text[at:].lstrip(_BLANK)
    line_end = rest.start() + len(rest[0].rstrip("\r\n"))
    return text[:last] + "," * (not has_comma) + text[last:line_end] + lines + text[line_end:]


def _with_new(text: str, found: Spans, target: Place, source: Place, items: list[_Item], newline: str) -> str:
    start, end = found.keys[source]
    last = re.escape(str(source[-1]))
    key = re.sub(rf"""(["']?){last}\1$""", str(target[-1]), text[start:end].rstrip())
    statement = f"{key} = {_array(list(dict.fromkeys(items)), newline)}"
    value_end = found.values[source][1]
    rest = _REST_OF_LINE.match(text, value_end)
    if text[_line_start(text, start) : start].strip() or rest is None:
        return f"{text[:value_end]}, {statement}{text[value_end:]}"  # within an inline table
    line_end = rest.start() + len(rest[0].rstrip("\r\n"))
    return text[:line_end] + newline + text[_line_start(text, start) : start] + statement + text[line_end:]


def _array(items: list[_Item], newline: str, inner: str = "") -> str:
    """A whole array; `inner` are comments that stood in it when it was empty."""
    line = f"[{', '.join(item.text for item in items)}]"
    if not inner and len(line) <= WIDTH and not any(item.comment for item in items):
        return line
    return f"[{inner}{newline}" + "".join(f"{INDENT}{item.text},{_behind(item)}{newline}" for item in items) + "]"


def _behind(item: _Item) -> str:
    return f"  {item.comment}" if item.comment else ""
