"""A profile and its overrides, as Python has them → the words of a command line.

What flags can say goes into flags, so that a launch from Python finds its plan where one from a shell does. The rest, and
what must not be seen in /proc/PID/cmdline, is a document in a sealed memfd.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from sandrun.errors import UsageError
from sandrun.profile.bad import quoted, suggest
from sandrun.profile.keys import BY_PATH, KEYS, LAST, TABLE, UNION, Key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import TypeAlias

    from sandrun.library.builder import Profile

    Table: TypeAlias = Mapping[str, object]
    Source: TypeAlias = str | os.PathLike[str] | Table | Profile

DEFAULT = "default"
TAKEN = frozenset(("argv", "input", "timeout", "env", "cwd", "pass_fds", "report"))
"""Keywords of `run` that are no keys: such a key is named in full (`time_timeout`, `process_cwd`)."""
_LISTS = {"extends": "--profile", "replace": "--replace", "optional": "--optional", "require": "--require"}
_READ_BY_LAUNCHER = (
    *("COVERAGE_", "DBUS_", "GCONV_", "GETCONF_", "GLIBC_", "HOME", "HOSTALIASES", "LD_", "LOC", "MALLOC_", "NIS_"),
    *("NLSPATH", "NOTIFY_", "OPENSSL", "PYTHON", "RES", "SANDRUN", "SYSTEMD_", "TMPDIR", "TZDIR", "XDG_"),
    *("CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE", "SSL_CERT_"),
)
"""How the names of variables begin that change what the launcher itself does, or what it grants."""


class ArgumentError(UsageError, TypeError):
    """An argument that the function does not take."""


class UnknownKeyError(ArgumentError, AttributeError):
    """There is no such key, and so no argument or method of that name."""


class Asked(NamedTuple):
    """What one launch asks for: flags, documents on top of which they count, and variables for the command.

    `only`: no other variable is passed on. `flags` is without the profiles.
    """

    profiles: tuple[str | Table, ...] = ()
    flags: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    only: bool = False


def asked(
    profile: Source | Iterable[Source],
    overrides: Table,
    env: Mapping[str, str] | None,
    pass_fds: Iterable[int] = (),
) -> Asked:
    """What these arguments of `run` mean. Raises UsageError."""
    several: list[Any] = list(profile) if isinstance(profile, list | tuple) else [profile]
    profiles: list[str | Table] = []
    flags: list[str] = []
    variables: dict[str, str] = {}
    for number, source in enumerate(several):
        words, its_flags, its_env = _source(source, is_last=number == len(several) - 1)
        profiles += words
        flags += its_flags
        variables |= its_env
    more, top = _overrides(overrides)
    flags += more
    if top:
        profiles = [*(profiles or [DEFAULT]), top]
    flags += [f"--pass-fd={fd:d}" for fd in pass_fds]
    if profiles == [DEFAULT]:
        profiles = []  # as on a command line without -p: the two share a kept plan
    variables |= {} if env is None else _strings(env)
    return Asked(tuple(profiles), tuple(flags), tuple(variables.items()), env is not None)


def _source(source: Any, *, is_last: bool) -> tuple[list[str | Table], list[str], dict[str, str]]:
    """The profiles, flags and variables of one argument."""
    if isinstance(source, str | os.PathLike):
        return [profile_word(source)], [], {}
    document, variables = read_document(source)
    said = document_flags(document) if is_last else None
    if said is None:
        return [document], [], variables
    return [*said[0]], said[1], variables


def profile_word(source: str | os.PathLike[str]) -> str:
    """What `--profile` is given: a string as it is, an object that is a path as a path."""
    if isinstance(source, str):
        return source
    path = os.fspath(source)
    return path if "/" in path else f"./{path}"


def read_document(source: object) -> tuple[Table, dict[str, str]]:
    """The document of a dict or a `Profile`, and the variables that it sets. Raises UsageError."""
    from sandrun.library.builder import Profile  # noqa: PLC0415 (it builds on this module)

    if isinstance(source, Profile):
        return source.document(), source.variables()
    if isinstance(source, dict):
        return source, {}
    raise UsageError(f"not a profile: {quoted(repr(source))}", hint="a name, a path, a dict or a sandrun.Profile")


def document_flags(document: Table) -> tuple[list[str], list[str]] | None:
    """The profiles and flags that say the same as a document; None if no flags do, or something is wrong in it."""
    flags: list[str] = []
    extends = document.get("extends", [])
    profiles = [extends] if isinstance(extends, str) else extends
    if not isinstance(profiles, list) or not all(isinstance(word, str) and word for word in profiles):
        return None
    for name, value in document.items():
        if name in ("schema", "description", "extends"):
            continue
        if name in _LISTS:
            if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
                return None
            flags += [f"{_LISTS[name]}={word}" for word in value]
            continue
        told = _table_flags(name, value)
        if told is None:
            return None
        flags += told
    return profiles or ["none"], flags


def _table_flags(table: str, value: object) -> list[str] | None:
    if not isinstance(value, dict):
        return None
    flags: list[str] = []
    for key, entry in [(BY_PATH[table], value)] if table in BY_PATH else _keys_of(table, value):
        told = None if key is None or entry in ([], {}) else key_flags(key, entry)
        if told is None:
            return None
        flags += told
    return flags


def _keys_of(table: str, values: Table) -> Iterator[tuple[Key | None, object]]:
    return ((BY_PATH.get(f"{table}.{name}"), entry) for name, entry in values.items())


def key_flags(key: Key, value: object) -> list[str] | None:
    """The flags of one key; None if only a document can say it. Values of variables are never in flags."""
    if not key.option:
        return None
    if key.merge == TABLE:
        if not isinstance(value, dict) or not all(_is_plain(one) for one in value.values()):
            return None
        return [f"{key.option}={name}={one}" for name, one in value.items()]
    if key.merge == UNION:
        several = value if isinstance(value, list | tuple) else None
        if several is None or not all(_is_plain(one) and not isinstance(one, bool) for one in several):
            return None
        if key.path == "environment.pass" and any("=" in str(one) for one in several):
            return None
        return [f"{key.option}={one}" for one in several]
    if key.kind == "bool":
        return [key.option if value else f"--no-{key.option.removeprefix('--')}"] if isinstance(value, bool) else None
    if isinstance(value, bool):
        return [f"{key.option}={str(value).lower()}"] if key.kind == "isolate" else None
    return [f"{key.option}={value}"] if _is_plain(value) else None


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int | float) and "\0" not in str(value) and value != ""


def names() -> dict[str, Key]:
    """The keys by the names of their options, as Python writes them."""
    return {key.option.removeprefix("--").replace("-", "_"): key for key in KEYS if key.option}


def key_named(name: str, taken: frozenset[str] = frozenset()) -> Key:
    """The key behind the name of an argument: its option's, or its path, with `_`. Raises UnknownKeyError."""
    known = {short: key for short, key in names().items() if short not in taken}
    known |= {key.path.replace(".", "_"): key for key in KEYS}
    if name not in known:
        raise UnknownKeyError(f"no key of a profile: {quoted(name)}", hint=suggest(name, known))
    return known[name]


def key_value(key: Key, value: object) -> object:
    """A value as TOML has it: one entry of a list alone, paths as objects, an octal mask as a number."""
    if key.merge == UNION:
        is_one = isinstance(value, str | bytes | int | dict | os.PathLike)
        return [text(one) for one in ([value] if is_one else value)]  # type: ignore[attr-defined]
    if isinstance(value, bytes | os.PathLike):
        return os.fsdecode(value)
    if key.kind == "octal" and isinstance(value, int):
        return f"{value:03o}"
    return dict(value) if key.merge != LAST and hasattr(value, "items") else value  # type: ignore[call-overload]


def text(value: object) -> object:
    """A path as text; anything else as it is."""
    return os.fsdecode(value) if isinstance(value, bytes | os.PathLike) else value


def _overrides(overrides: Table) -> tuple[list[str], dict[str, dict[str, Any]]]:
    """The flags of keyword arguments, and the document of those that no flag can say."""
    flags: list[str] = []
    document: dict[str, dict[str, Any]] = {}
    for name, given in overrides.items():
        if name in ("replace", "optional", "require"):
            several = [given] if isinstance(given, str) else list(given)  # type: ignore[call-overload]
            flags += [f"--{name}={word}" for word in several]
            continue
        if name == "shell":
            raise ArgumentError('cannot take the argument shell: write ["sh", "-c", "..."] as the command')
        key = key_named(name, TAKEN)
        value = key_value(key, given)
        told = key_flags(key, value)
        if told is None:
            add(document, key, value)
        else:
            flags += told
    return flags, document


def add(document: dict[str, dict[str, Any]], key: Key, value: Any) -> None:
    """Put the value of a key into a document, where TOML has it: lists and tables grow, others are replaced."""
    table, _, name = key.path.partition(".")
    values = document.setdefault(table, {})
    if not name:
        values.update(value)
    elif key.merge == UNION:
        values[name] = [*values.get(name, []), *value]
    elif key.merge == TABLE:
        values[name] = {**values.get(name, {}), **value}
    else:
        values[name] = value


def _strings(env: Mapping[str, str]) -> dict[str, str]:
    read = {os.fsdecode(name): os.fsdecode(value) for name, value in env.items()}
    for name, value in read.items():
        if not name or "=" in name or "\0" in name + value:
            raise UsageError("not a variable for env: it has no name, or one with = or NUL, or a value with NUL")
    return read


def inherited(name: str, value: str) -> bool:
    """Whether a variable may be in the launcher's environment, from where `-e NAME` passes it on.

    Else it is set by a document: the launcher would load a library, take a file for a profile or read a name as a pattern.
    """
    if not (name.isascii() and name.isidentifier()):
        return False
    return os.environ.get(name) == value or not name.upper().startswith(_READ_BY_LAUNCHER)
