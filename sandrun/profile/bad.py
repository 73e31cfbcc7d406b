"""What a reader raises about one value, and the words of such messages: quoting, types, did-you-mean."""

from __future__ import annotations

import errno

from sandrun.errors import Problem, ProfileError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_QUOTED = 80
"""Characters of the user's text that a message repeats."""


class Bad(Exception):  # noqa: N818 (raised by the readers and turned into a Problem by whoever knows the place)
    """A value cannot be understood. `at` is where inside the value, as a suffix of its key path (`.access[1]`).

    `others` are further things wrong with the same value.
    """

    def __init__(self, message: str, hint: str | None = None, *, at: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.at = at
        self.others: tuple[Bad, ...] = ()

    def all(self) -> tuple[Bad, ...]:
        return (self, *self.others)

    def as_error(self, where: str = "") -> ProfileError:
        """The same for whoever has no place to collect problems in."""
        return ProfileError([Problem(where, self.message, self.hint)])


def escaped(text: str) -> str:
    """`text` with everything that a terminal should not see as a backslash escape."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escape(char) for char in text)


def _escape(char: str) -> str:
    if "\udc80" <= char <= "\udcff":
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape").decode("ascii")


def quoted(text: str) -> str:
    """`text` in quotes for a message: escaped, and shortened where it is long."""
    short = text if len(text) <= MAX_QUOTED else text[: MAX_QUOTED - 1] + "…"
    return f'"{escaped(short)}"'


def reason(error: OSError) -> str:
    """`strerror (ENAME)`."""
    name = errno.errorcode.get(error.errno or 0, "")
    return f"{error.strerror} ({name})" if name else str(error.strerror)


def type_name(raw: object) -> str:
    """The TOML type of a parsed value, with its article."""
    if isinstance(raw, bool):
        return "a boolean"
    names = {int: "an integer", float: "a float", str: "a string", list: "an array", dict: "a table"}
    return names.get(type(raw), "a date or time")


def expected(what: str, raw: object, hint: str | None = None) -> Bad:
    """`raw` has the wrong type."""
    return Bad(f"expected {what}, got {type_name(raw)}", hint)


def suggest(word: str, choices: Iterable[str]) -> str | None:
    """A hint with the choice that looks most like `word`, or None."""
    import difflib  # noqa: PLC0415 (error path)

    known = {choice.lower(): choice for choice in choices}
    found = difflib.get_close_matches(word.lower()[:MAX_QUOTED], known, n=1, cutoff=0.6)
    return f"did you mean {quoted(known[found[0]])}?" if found else None


def unknown(what: str, word: str, choices: Iterable[str], *, list_them: bool = False) -> Bad:
    """`word` is not one of `choices`; a short list of them is spelled out where nothing looks like it."""
    choices = tuple(choices)
    hint = suggest(word, choices)
    if hint is None and list_them:
        hint = "one of " + ", ".join(choices)
    return Bad(f"unknown {what} {quoted(word)}", hint)
