"""The JSON Schema of a profile, made from the declaration of keys, for editors (`sandrun profile schema`).

It knows types, names of keys and short lists of choices. What needs a table or a grammar (syscalls, endpoints, paths)
is left to `sandrun profile check`: the schema never refuses what that accepts.
"""

from __future__ import annotations

from typing import Any

from sandrun.profile.keys import KEYS, TABLE, TABLES, TOP_KEYS, UNION, Key
from sandrun.profile.layer import SCHEMA
from sandrun.profile.names import NAMESPACES, RLIMITS
from sandrun.profile.rules import OPERATORS
from sandrun.profile.units import MOST
from sandrun.profile.values import LAST_ID

DIALECT = "https://json-schema.org/draft/2020-12/schema"
STRING: dict[str, Any] = {"type": "string", "minLength": 1}
STRINGS: dict[str, Any] = {"type": "array", "items": STRING}
ACCOUNT: dict[str, Any] = {"type": ["string", "integer"], "minLength": 1, "minimum": 0, "maximum": LAST_ID}
WORD: dict[str, Any] = {"type": ["string", "integer"], "minimum": -(2**63), "maximum": 2**64 - 1}

RULE: dict[str, Any] = {
    "type": "object",
    "properties": {
        "path": STRING,
        "access": {"type": "array", "items": STRING, "minItems": 1},
        "at": {"type": "string", "pattern": "^/"},
    },
    "required": ["path", "access"],
    "additionalProperties": False,
}
SYSCALL_RULE: dict[str, Any] = {
    "type": "object",
    "properties": {
        "syscall": {"type": ["string", "integer"], "minLength": 1, "minimum": 0},
        "arg": {"type": "integer", "minimum": 0, "maximum": 5},
        "op": {"enum": list(OPERATORS)},
        "value": WORD,
        "mask": WORD,
        "action": {"type": "string", "pattern": "^(allow|errno(:E[A-Z0-9]+)?|kill-process|log)$"},
    },
    "required": ["syscall", "arg", "op", "value", "action"],
    "additionalProperties": False,
}
BROKER_NAME: dict[str, Any] = {"type": "string", "pattern": "^[A-Za-z][A-Za-z0-9_-]{0,99}$"}
BROKER_INPUT: dict[str, Any] = {
    "type": "object",
    "properties": {"name": BROKER_NAME, "path": STRING, "optional": {"type": "boolean"}},
    "required": ["name"],
    "additionalProperties": False,
}
BROKER_OUTPUT: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": BROKER_NAME,
        "path": STRING,
        "max_size": {"type": ["integer", "string"], "minimum": 1, "pattern": "^[0-9]+[KMGT]?$"},
        "utf8": {"type": "boolean"},
        "line": STRING,
        "json_schema": {"type": ["string", "object", "boolean"]},
        "validator": STRINGS | {"minItems": 1},
        "validator_read": STRINGS,
        "validator_timeout": {
            "type": ["number", "string"],
            "minimum": 0,
            "pattern": r"^[0-9]+(\.[0-9]+)?(ms|s|m|h|d)?$",
        },
        "mode": {"type": "string", "pattern": "^[0-7]{1,4}$"},
        "owner": STRING,
        "mkdir": {"type": "boolean"},
    },
    "required": ["name"],
    "additionalProperties": False,
}
KINDS: dict[str, dict[str, Any]] = {
    "broker-input": BROKER_INPUT,
    "broker-output": BROKER_OUTPUT,
    "rules": RULE,
    "syscall-rules": SYSCALL_RULE,
    "bool": {"type": "boolean"},
    "isolate": {"enum": [True, "signals", False]},
    "syscalls": {"type": ["string", "integer"], "minLength": 1, "minimum": 0},
    "user": ACCOUNT,
    "group": ACCOUNT,
    "groups": ACCOUNT,
    "namespaces": {"enum": [*NAMESPACES, "@all"]},
    "octal": {"type": "string", "pattern": "^[0-7]{1,4}$"},
    "nice": {"type": "integer", "minimum": -20, "maximum": 19},
    "count": {"type": "integer", "minimum": 1, "maximum": MOST},
    "fds": {"type": "integer", "minimum": 0},
    "size": {"type": ["integer", "string"], "minimum": 1, "pattern": "^[0-9]+[KMGT]?$"},
    "duration": {"type": ["number", "string"], "minimum": 0, "pattern": r"^[0-9]+(\.[0-9]+)?(ms|s|m|h|d)?$"},
    "percent": {"type": "string", "pattern": "^[0-9]+%$"},
}
"""One value of each kind; a kind that is not here is a non-empty string."""


def schema() -> dict[str, Any]:
    """The schema as a JSON document; a new one at each call."""
    properties: dict[str, Any] = {name: _top(name, text) for name, text, _ in TOP_KEYS}
    for table in TABLES:
        properties[table] = _table(table)
    return {
        "$schema": DIALECT,
        "title": "sandrun profile",
        "description": "What one command may do. See sandrun-profile(5).",
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }


def _top(name: str, text: str) -> dict[str, Any]:
    kinds: dict[str, dict[str, Any]] = {
        "schema": {"const": SCHEMA},
        "description": STRING,
        "extends": {"anyOf": [STRING, STRINGS]},
    }
    return kinds.get(name, STRINGS) | {"description": text}


def _table(table: str) -> dict[str, Any]:
    whole = next((key for key in KEYS if key.path == table), None)
    if whole is not None:
        return _names(whole)
    properties = {key.path.partition(".")[2]: _key(key) for key in KEYS if key.table == table}
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _key(key: Key) -> dict[str, Any]:
    if key.merge == TABLE:
        return _names(key)
    one = {"enum": list(key.choices)} if key.kind == "enum" else KINDS.get(key.kind, STRING)
    about = {"description": key.help}
    return {"type": "array", "items": one} | about if key.merge == UNION else one | about


def _names(key: Key) -> dict[str, Any]:
    about = {"type": "object", "description": key.help}
    if key.kind != "rlimit-table":
        return about | {"additionalProperties": {"type": "string"}}
    properties = {}
    for name, counted in RLIMITS.items():
        number, meaning = (
            ("number", "A time.")
            if counted.endswith("seconds")
            else ("integer", "A size." if counted == "bytes" else "A number.")
        )
        properties[name] = {"type": [number, "string"], "minimum": 0, "minLength": 1, "description": meaning}
    return about | {"properties": properties, "additionalProperties": False}
