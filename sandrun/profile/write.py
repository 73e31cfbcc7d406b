"""A profile as TOML text: what `sandrun profile show` prints. Values of environment variables are left out."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from sandrun.profile.keys import BY_PATH, KEYS, TABLE, UNION
from sandrun.profile.layer import SCHEMA
from sandrun.profile.model import AccessRule, BrokerInput, BrokerOutput, Endpoint, Limit, PathEntry, SyscallRule
from sandrun.profile.paths import PROFILE_DIR, literal
from sandrun.profile.source import BARE
from sandrun.profile.units import SIZE_UNITS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from sandrun.profile.keys import Key
    from sandrun.profile.layer import Layer
    from sandrun.profile.model import Profile, Value

HIDDEN = "…"
WIDTH = 100
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def layer_text(layer: Layer) -> str:
    """What one file says by itself, in the order of the declaration of keys."""
    profile = layer.profile
    head = _head(profile.description)
    for name, values in (("extends", layer.extends), ("replace", layer.replace), ("optional", layer.optional)):
        head += array(name, [string(str(value.value)) for value in values]) if values else []
    head += array("require", [string(str(value.value)) for value in profile.require]) if profile.require else []
    return _text(head + tables(profile.values))


def profile_text(profile: Profile) -> str:
    """The effective profile: everything that `extends` brought is in it, with the origin of each value.

    `${PROFILE_DIR}` is written out, since the text may be saved elsewhere.
    """
    head = _head(profile.description)
    head += [f"# replaced: {value.value} ({value.origin})" for value in profile.replaced]
    optional = [key for key in profile.asked if profile.is_optional(key)]
    head += array("optional", [string(key) for key in optional]) if optional else []
    if profile.require:
        origins = [str(value.origin) for value in profile.require]
        head += array("require", [string(str(value.value)) for value in profile.require], origins)
    return _text(head + tables(profile.values, lambda value: str(value.origin)))


def _head(description: str) -> list[str]:
    return [f"schema = {SCHEMA}", *([f"description = {string(description)}"] if description else [])]


def _text(lines: Iterable[str]) -> str:
    return "\n".join(lines) + "\n"


def tables(values: Mapping[str, tuple[Value, ...]], comment: Callable[[Value], str] | None = None) -> list[str]:
    """The lines of these values, table by table; `comment` gives what stands behind each of them."""
    lines: list[str] = []
    table = ""
    for key in KEYS:
        written = _key_lines(key, values, comment)
        if written and key.table != table:
            table = key.table
            lines += ["", f"[{table}]"]
        lines += written
    return lines


def _key_lines(key: Key, values: Mapping[str, tuple[Value, ...]], comment: Callable[[Value], str] | None) -> list[str]:
    name = key.path.partition(".")[2]
    if key.merge == TABLE:
        prefix = f"{name}." if name else ""
        entries = {path[len(key.path) + 1 :]: several[-1] for path, several in values.items() if _is_in(path, key)}
        return [
            f"{prefix}{_name(entry)} = {string(HIDDEN) if key.kind == 'env-table' else to_toml(value, key)}"
            + (
                f"  # {_hidden(key)}{comment(value)}"
                if comment
                else "  # the value is not shown" * (key.kind == "env-table")
            )
            for entry, value in entries.items()
        ]
    several = values.get(key.path)
    if several is None:
        return []
    if key.merge == UNION:
        return array(name, [to_toml(value, key) for value in several], list(map(comment, several)) if comment else None)
    behind = f"  # {comment(several[-1])}" if comment else ""
    return [f"{name} = {to_toml(several[-1], key)}{behind}"]


def _hidden(key: Key) -> str:
    return "the value is not shown; " if key.kind == "env-table" else ""


def _is_in(path: str, key: Key) -> bool:
    return path.startswith(key.path + ".") and path not in BY_PATH


def array(name: str, items: list[str], comments: list[str] | None = None) -> list[str]:
    """The lines of a list: one for each item if there are comments, or if one would be too long."""
    line = f"{name} = [{', '.join(items)}]"
    if not items or (comments is None and len(line) <= WIDTH):
        return [line]
    behind = [f"  # {comment}" for comment in comments] if comments else [""] * len(items)
    return [f"{name} = [", *(f"    {item},{end}" for item, end in zip(items, behind, strict=True)), "]"]


def to_toml(value: Value, key: Key) -> str:
    """One typed value as its key's reader takes it. An environment value is HIDDEN."""
    typed = value.value
    if isinstance(typed, PathEntry):
        return string(_path(typed, value.origin.directory))
    if isinstance(typed, AccessRule):
        fields = {"path": string(_path(typed.path, value.origin.directory))}
        fields["access"] = f"[{', '.join(map(string, typed.access))}]"
        return _inline(fields | ({"at": string(typed.at)} if typed.at else {}))
    if isinstance(typed, BrokerInput | BrokerOutput):
        return _inline(
            {
                name: _brokered(name, each, value.origin.directory)
                for name, each in typed._asdict().items()
                if each is not None
            }
        )
    if isinstance(typed, SyscallRule):
        fields = {"syscall": string(typed.syscall), "arg": str(typed.arg), "op": string(typed.op)}
        fields["value"] = _word(typed.value)
        fields |= {"mask": _word(typed.mask)} if typed.op == "masked_eq" else {}
        return _inline(fields | {"action": string(typed.action)})
    if isinstance(typed, Endpoint):
        return string(typed.text)
    if isinstance(typed, Limit):
        return _limit(typed, value.origin.key.rpartition(".")[2])
    if isinstance(typed, bool):
        return "true" if typed else "false"
    if key.kind == "octal" and isinstance(typed, int):
        return string(f"{typed:03o}")
    if key.kind == "percent":
        return string(f"{typed}%")
    if key.kind == "size" and isinstance(typed, int):
        return _size(typed)
    return str(typed) if isinstance(typed, int | float) else string(str(typed))


def _brokered(name: str, value: Any, directory: str) -> str:
    """One member of an input or output, as its reader takes it."""
    if isinstance(value, PathEntry):
        return string(_path(value, directory))
    if isinstance(value, tuple):
        return "[" + ", ".join(_brokered(name, each, directory) for each in value) + "]"
    if name == "json_schema":
        return _inlined(json.loads(value))
    if isinstance(value, bool):
        return "true" if value else "false"
    if name == "max_size":
        return _size(value)
    if name == "mode":
        return string(f"{value:04o}")
    own = f"${{{PROFILE_DIR}}}"
    if name == "validator" and directory:
        value = value.replace(own, directory)
    return str(value) if isinstance(value, int | float) else string(value)


def _inlined(value: Any) -> str:
    """A value of JSON, which has no null, in TOML."""
    if isinstance(value, dict):
        return _inline({_name(name): _inlined(each) for name, each in value.items()})
    if isinstance(value, list):
        return "[" + ", ".join(map(_inlined, value)) + "]"
    return json.dumps(value) if isinstance(value, bool | int | float) else string(value)


def _path(entry: PathEntry, directory: str) -> str:
    """The entry's text with `${PROFILE_DIR}` filled in where there is one."""
    if "${PROFILE_DIR}" not in entry.path or not directory:
        return entry.text
    return entry.text.replace("${PROFILE_DIR}", literal(directory))


def _inline(fields: Mapping[str, str]) -> str:
    return "{ " + ", ".join(f"{name} = {text}" for name, text in fields.items()) + " }"


def _word(number: int) -> str:
    return str(number) if number < 2**63 else string(hex(number))


def _size(number: int) -> str:
    for unit, factor in reversed(SIZE_UNITS.items()):
        if number and number % factor == 0:
            return string(f"{number // factor}{unit}")
    return str(number)


def _limit(limit: Limit, name: str) -> str:
    soft = _one_limit(limit.soft, name)
    if limit.has_hard:
        return string(f"{soft}:{_one_limit(limit.hard, name)}")
    return soft if soft.isdecimal() else string(soft)


def _one_limit(number: int | None, name: str) -> str:
    if number is None:
        return "unlimited"
    return f"{number // 1000}ms" if name == "rttime" else str(number)


def _name(name: str) -> str:
    return name if name and BARE.issuperset(name) else string(name)


def string(text: str) -> str:
    """A TOML basic string; what is not UTF-8 (a directory's name) cannot be said in TOML and is shown replaced."""
    text = os.fsencode(text).decode("utf-8", "replace")
    return '"' + "".join(_ESCAPES.get(char) or (char if char.isprintable() else _code(char)) for char in text) + '"'


def _code(char: str) -> str:
    return f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}"
