"""A document of Python values as TOML text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandrun.errors import UsageError
from sandrun.profile.source import BARE
from sandrun.profile.write import string

if TYPE_CHECKING:
    from collections.abc import Mapping


def text(document: Mapping[str, object]) -> str:
    """The text of a document, its tables as headers. Raises UsageError for what TOML does not have."""
    top = {name: value for name, value in document.items() if not isinstance(value, dict)}
    lines = [f"{_name(name)} = {_value(value, name)}" for name, value in top.items()]
    for table, values in document.items():
        if isinstance(values, dict):
            lines += ["", f"[{_name(table)}]"]
            lines += [f"{_name(name)} = {_value(value, f'{table}.{name}')}" for name, value in values.items()]
    return "\n".join(lines).lstrip("\n") + "\n"


def _name(name: object) -> str:
    if not isinstance(name, str):
        raise UsageError(f"not the name of a key: {name!r}")
    return name if name and BARE.issuperset(name) else string(name)


def _value(value: object, place: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return string(value)
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(_value(one, place) for one in value)}]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_name(name)} = {_value(one, place)}" for name, one in value.items()) + " }"
    raise UsageError(f"{place}: no value that a profile can have: {type(value).__name__}")
