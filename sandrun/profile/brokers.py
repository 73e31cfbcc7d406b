"""Readers of `[[broker.input]]` and `[[broker.output]]`, and of `--in NAME=PATH` and `--out NAME=PATH`."""

from __future__ import annotations

import json

from sandrun.named import NamedTuple
from sandrun.profile import paths
from sandrun.profile.bad import Bad, expected, quoted
from sandrun.profile.model import BrokerInput, BrokerOutput, PathEntry
from sandrun.profile.rules import fields_of
from sandrun.profile.units import number, seconds, size, string

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

MOST_BYTES = 1 << 30
"""Of one output: it is held in memory while it is judged."""
MOST_SECONDS = 3600
_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")


class _Kind(NamedTuple):
    """The type of a table, and the readers of its keys; all but the name may be left out."""

    make: type[BrokerInput] | type[BrokerOutput]
    readers: dict[str, Callable[[object], object]]


def name(raw: object) -> str:
    """The name of an input or output. Raises Bad."""
    text = string(raw)
    if not (_NAME.issuperset(text) and text[0].isalpha()) or len(text) > 100:
        raise Bad(
            f"not a name: {quoted(text)}", "a letter, then letters, digits, - and _: it becomes part of a variable's"
        )
    return text


def _bool(raw: object) -> bool:
    if not isinstance(raw, bool):
        raise expected("a boolean", raw)
    return raw


def _path(raw: object) -> PathEntry:
    return paths.parse_single(string(raw))


def _max_size(raw: object) -> int:
    amount = size(raw, first=1)
    if amount > MOST_BYTES:
        raise Bad(f"more than 1G: {amount} bytes", "an output is held in memory while it is judged")
    return amount


def _line(raw: object) -> str:
    from sandrun.profile.pattern import Pattern  # noqa: PLC0415 (few profiles have one)

    return Pattern(string(raw)).text


def _json_schema(raw: object) -> PathEntry | str:
    """A file, or the text of a schema that stands in the profile itself."""
    if isinstance(raw, str):
        return _path(raw)
    from sandrun.profile.json_schema import Schema  # noqa: PLC0415 (few profiles have one)

    Schema(raw)
    try:
        return json.dumps(raw, allow_nan=False)
    except (TypeError, ValueError):
        raise Bad("a schema holds nothing but what JSON has: no dates") from None


def _strings(raw: object) -> tuple[str, ...]:
    if not isinstance(raw, list) or not raw:
        raise expected("an array with the words of a command", raw)
    return tuple(string(word) for word in raw)


def _entries(raw: object) -> tuple[PathEntry, ...]:
    if not isinstance(raw, list):
        raise expected("an array of paths", raw)
    return tuple(paths.parse(string(item)) for item in raw)


def _timeout(raw: object) -> int | float:
    amount = seconds(raw)
    if not 0 < amount <= MOST_SECONDS:
        raise Bad("a validator takes more than no time, and at most 1h")
    return amount


def _mode(raw: object) -> int:
    text = string(raw, "a string of octal digits") if isinstance(raw, str) else ""
    if not text:
        raise expected("a string of octal digits", raw, 'write it in quotes: "0640"')
    if not set(text) <= set("01234567") or len(text) > 4 or int(text, 8) > 0o777:
        raise Bad(f"not a mode: {quoted(text)}", "write 0000 to 0777")
    return int(text, 8)


def _owner(raw: object) -> str:
    text = string(raw)
    user, colon, group = text.partition(":")
    if not user or (colon and not group) or not text.isprintable() or set(text) & set("/ "):
        raise Bad(f"not an owner: {quoted(text)}", "write USER or USER:GROUP")
    for one in (user, group):
        if one.lstrip("-").isdecimal():
            number(one)
    return text


_INPUT = _Kind(BrokerInput, {"name": name, "path": _path, "optional": _bool})
_OUTPUT = _Kind(
    BrokerOutput,
    {
        "name": name,
        "path": _path,
        "max_size": _max_size,
        "utf8": _bool,
        "line": _line,
        "json_schema": _json_schema,
        "validator": _strings,
        "validator_read": _entries,
        "validator_timeout": _timeout,
        "mode": _mode,
        "owner": _owner,
        "mkdir": _bool,
    },
)
KINDS = {"broker-input": _INPUT, "broker-output": _OUTPUT}


def read(raw: object, kind: str) -> BrokerInput | BrokerOutput:
    """A table of an array. Raises Bad with everything that is wrong in it."""
    readers = KINDS[kind].readers
    fields = fields_of(raw, readers, tuple(key for key in readers if key != "name"))
    return KINDS[kind].make(**fields)  # type: ignore[arg-type]


def from_text(text: str, metavar: str) -> dict[str, object]:
    """What `NAME=PATH` would be in TOML. Raises Bad."""
    named, equals, path = text.partition("=")
    if not equals:
        raise Bad(f"not a name and a path: {quoted(text)}", f"write {metavar}")
    return {"name": named, "path": path}
