"""Regular expressions in linear time: what they are matched against is hostile, and `re` can be made to run for years.

The pattern becomes a nondeterministic automaton without counters or memory, and that is run as a deterministic one whose
states are made when they are first met. One character costs at most one look at each of MOST_STATES states, mostly one
look into a dictionary. So there are no references, lookarounds or lazy repetitions; `\\d`, `\\w` and `\\s` are ASCII only.
"""

from __future__ import annotations

import time
from typing import NamedTuple

from sandrun.profile.bad import Bad, quoted

MOST_STATES = 2000
MOST_KEPT = 20_000
"""Transitions that are remembered; hostile text can make many, and then they are all forgotten."""
_MOST_BUILT = 50_000
"""Parts that are repeated: also what matches nothing costs time for each."""
_LOOK_AT_CLOCK = 4096
_REPEATS = 1000
_LAST = 0x10FFFF
_DIGITS = ((48, 57),)
_WORD = ((48, 57), (65, 90), (95, 95), (97, 122))
_SPACE = ((9, 13), (32, 32))
_CLASSES = {"d": _DIGITS, "w": _WORD, "s": _SPACE}
_CONTROLS = {"t": "\t", "n": "\n", "r": "\r", "f": "\f", "v": "\v", "0": "\0"}
_SPECIAL = frozenset("\\.[](){}*+?|^$")

Ranges = tuple[tuple[int, int], ...]


class TooSlowError(Exception):
    """The deadline passed before the text was read."""


class _Edge(NamedTuple):
    """A state that reads one character within `ranges` and goes to `to`."""

    ranges: Ranges
    to: int


class Pattern:
    """A pattern that a whole text matches or not."""

    def __init__(self, text: str, *, search: bool = False) -> None:
        """Compile. With `search`, anywhere in a text unless `^` and `$` say otherwise, as JSON Schema has it.

        Raises Bad for what is no pattern, or not one of these.
        """
        self.text = text
        body, is_start, is_end = _anchors(text)
        self._edges: list[_Edge | None] = []
        self._empty: list[tuple[int, ...]] = []
        tree = _Parser(body, text).parse()
        anything: tuple[object, ...] = ("repeat", ("ranges", ((0, _LAST),)), 0, None)
        parts = [tree] if not search else [*([] if is_start else [anything]), tree, *([] if is_end else [anything])]
        self._built = 0
        self._final = self._state()
        self._start = self._build(("and", parts), self._final)
        self._begin = self._closure((self._start,))
        self._known: dict[frozenset[int], dict[str, frozenset[int]]] = {}
        self._kept = 0

    # --- the automaton -----------------------------------------------------------------------------------------------

    def _state(self, edge: _Edge | None = None, empty: tuple[int, ...] = ()) -> int:
        if len(self._edges) >= MOST_STATES:
            raise self._too_large()
        self._edges.append(edge)
        self._empty.append(empty)
        return len(self._edges) - 1

    def _too_large(self) -> Bad:
        return Bad(f"too large a pattern: {quoted(self.text)}", "repeat less often")

    def _build(self, node: tuple[object, ...], to: int) -> int:
        """The first state of what matches `node` and then goes on at `to`."""
        self._built += 1
        if self._built > _MOST_BUILT:
            raise self._too_large()
        kind = node[0]
        if kind == "ranges":
            return self._state(_Edge(node[1], to))  # type: ignore[arg-type]
        if kind == "and":
            for part in reversed(node[1]):  # type: ignore[call-overload]
                to = self._build(part, to)
            return to
        if kind == "or":
            return self._state(None, tuple(self._build(part, to) for part in node[1]))  # type: ignore[attr-defined]
        _, part, least, most = node
        if most is None:
            again = self._state()
            first = self._build(part, again)  # type: ignore[arg-type]
            self._empty[again] = (first, to)
            to = again
        else:
            for _ in range(most - least):  # type: ignore[operator]
                to = self._state(None, (self._build(part, to), to))  # type: ignore[arg-type]
        for _ in range(least):  # type: ignore[call-overload]
            to = self._build(part, to)  # type: ignore[arg-type]
        return to

    def _closure(self, states: tuple[int, ...]) -> frozenset[int]:
        seen = set(states)
        waiting = list(states)
        while waiting:
            for state in self._empty[waiting.pop()]:
                if state not in seen:
                    seen.add(state)
                    waiting.append(state)
        return frozenset(state for state in seen if self._edges[state] or state == self._final)

    def _step(self, states: frozenset[int], char: str) -> frozenset[int]:
        code = ord(char)
        found = self._closure(
            tuple(
                edge.to
                for state in states
                if (edge := self._edges[state]) and any(low <= code <= high for low, high in edge.ranges)
            )
        )
        if self._kept >= MOST_KEPT:
            self._known.clear()
            self._kept = 0
        self._known.setdefault(states, {})[char] = found
        self._kept += 1
        return found

    def matches(self, text: str, deadline: float | None = None) -> bool:
        """Whether all of `text` matches. `deadline` is of time.monotonic(). Raises TooSlowError."""
        states = self._begin
        for start in range(0, len(text), _LOOK_AT_CLOCK):
            if deadline is not None and time.monotonic() > deadline:
                raise TooSlowError
            for char in text[start : start + _LOOK_AT_CLOCK]:
                known = self._known.get(states)
                found = known.get(char) if known else None
                states = self._step(states, char) if found is None else found
                if not states:
                    return False
        return self._final in states


def _anchors(text: str) -> tuple[str, bool, bool]:
    """The pattern without `^` at its start and `$` at its end, and whether they were there."""
    is_start = text.startswith("^")
    body = text[1:] if is_start else text
    backslashes = len(body[:-1]) - len(body[:-1].rstrip("\\"))
    is_end = body.endswith("$") and backslashes % 2 == 0
    body = body[:-1] if is_end else body
    return body, is_start, is_end


class _Parser:
    """The text of a pattern → a tree: ("ranges", …), ("and", parts), ("or", parts), ("repeat", part, least, most)."""

    def __init__(self, body: str, text: str) -> None:
        self.body = body
        self.text = text
        self.at = 0

    def parse(self) -> tuple[object, ...]:
        tree = self._either()
        if self.at < len(self.body):
            raise self._bad("nothing opens )")
        if tree[0] == "or" and self.text != self.body:
            raise self._bad("^ and $ beside | are ambiguous", "write ^(?:A|B)$")
        return tree

    def _bad(self, why: str, hint: str | None = None) -> Bad:
        return Bad(f"not a pattern that can be matched in linear time: {quoted(self.text)}: {why}", hint)

    def _peek(self) -> str:
        return self.body[self.at : self.at + 1]

    def _take(self) -> str:
        char = self._peek()
        if not char:
            raise self._bad("it ends too early")
        self.at += 1
        return char

    def _either(self) -> tuple[object, ...]:
        parts = [self._sequence()]
        while self._peek() == "|":
            self.at += 1
            parts.append(self._sequence())
        return ("or", parts) if len(parts) > 1 else parts[0]

    def _sequence(self) -> tuple[object, ...]:
        parts = []
        while self._peek() not in ("", "|", ")"):
            parts.append(self._repeated(self._one()))
        return ("and", parts)

    def _repeated(self, part: tuple[object, ...]) -> tuple[object, ...]:
        char = self._peek()
        if char not in ("*", "+", "?", "{") or not char:
            return part
        self.at += 1
        least, most = {"*": (0, None), "+": (1, None), "?": (0, 1)}.get(char) or self._count()
        if self._peek() in ("?", "+", "*", "{") and self._peek():
            raise self._bad("a repetition follows a repetition", "put the first in (?:...)")
        return ("repeat", part, least, most)

    def _count(self) -> tuple[int, int | None]:
        end = self.body.find("}", self.at)
        first, comma, second = self.body[self.at : end].partition(",") if end >= 0 else ("", "", "")
        digits = first + second
        if not (first and digits.isascii() and digits.isdecimal()) or max(len(first), len(second)) > 4:
            raise self._bad("{ is not followed by N}, N,} or N,M}", r"the character itself is \{")
        self.at = end + 1
        least = int(first)
        most = int(second) if second else None if comma else least
        if least > _REPEATS or (most is not None and not least <= most <= _REPEATS):
            raise self._bad(f"a repetition is at most {_REPEATS} times")
        return least, most

    def _one(self) -> tuple[object, ...]:
        char = self._take()
        if char == "(":
            return self._group()
        if char == "[":
            return ("ranges", self._bracket())
        if char == ".":
            return ("ranges", ((0, 9), (11, _LAST)))
        if char == "\\":
            return ("ranges", self._escape())
        if char in _SPECIAL and char not in "]}":
            raise self._bad(f"{char} has no place here", f"the character itself is \\{char}")
        return ("ranges", ((ord(char), ord(char)),))

    def _group(self) -> tuple[object, ...]:
        if self._peek() == "?":
            if self.body[self.at : self.at + 2] != "?:":
                raise self._bad("of (?...) there is only (?:...)")
            self.at += 2
        tree = self._either()
        if self._peek() != ")":
            raise self._bad("nothing closes (")
        self.at += 1
        return tree

    def _escape(self) -> Ranges:
        char = self._take()
        if char in _CLASSES:
            return _CLASSES[char]
        if char.lower() in _CLASSES:
            return _without(_CLASSES[char.lower()])
        if char in ("x", "u"):
            width = 2 if char == "x" else 4
            digits = self.body[self.at : self.at + width]
            if len(digits) < width or not set(digits) <= set("0123456789abcdefABCDEF"):
                raise self._bad(f"\\{char} takes {width} hexadecimal digits")
            self.at += width
            return ((int(digits, 16), int(digits, 16)),)
        char = _CONTROLS.get(char, char)
        if char.isascii() and char.isalnum():
            raise self._bad(f"there is no \\{char}")
        return ((ord(char), ord(char)),)

    def _bracket(self) -> Ranges:
        is_not = self._peek() == "^"
        self.at += is_not
        ranges: list[tuple[int, int]] = []
        is_first = True
        while self._peek() != "]" or is_first:
            is_first = False
            low = self._member()
            if len(low) == 1 and low[0][0] == low[0][1] and self._peek() == "-" and self._next_is_range():
                self.at += 1
                high = self._member()
                if len(high) != 1 or high[0][0] != high[0][1] or high[0][0] < low[0][0]:
                    raise self._bad("a range in [] runs backwards, or to no character")
                low = ((low[0][0], high[0][0]),)
            ranges += low
        self.at += 1
        return _without(tuple(ranges)) if is_not else tuple(ranges)

    def _next_is_range(self) -> bool:
        return self.body[self.at + 1 : self.at + 2] not in ("", "]")

    def _member(self) -> Ranges:
        char = self._take()
        return self._escape() if char == "\\" else ((ord(char), ord(char)),)


def _without(ranges: Ranges) -> Ranges:
    left = []
    start = 0
    for low, high in sorted(ranges):
        if low > start:
            left.append((start, low - 1))
        start = max(start, high + 1)
    return (*left, (start, _LAST)) if start <= _LAST else tuple(left)
