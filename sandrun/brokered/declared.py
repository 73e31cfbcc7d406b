"""What the layers of a profile together say of each input and output: a name is declared once, by all that name it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from sandrun.errors import Problem, ProfileError
from sandrun.host import System, home_of
from sandrun.profile.bad import Bad, quoted
from sandrun.profile.json_schema import Schema, parse
from sandrun.profile.model import Origin, PathEntry, Value
from sandrun.profile.paths import PROFILE_DIR, expand

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sandrun.profile.model import Profile

INPUT, OUTPUT = "broker.input", "broker.output"
DEFAULT_MAX_SIZE = 16 << 20
DEFAULT_VALIDATOR_TIMEOUT = 10
_MOST_SCHEMA = 1 << 20


class Input(NamedTuple):
    """An input: the absolute path of the file."""

    name: str
    path: str
    optional: bool
    origin: Origin


class Output(NamedTuple):
    """An output: the absolute path of its target, and what is asked of it. Sizes are bytes, times seconds."""

    name: str
    path: str
    origin: Origin
    max_size: int
    utf8: bool
    line: str
    schema: Schema | None
    validator: tuple[str, ...]
    validator_read: tuple[str, ...]
    validator_timeout: float
    mode: int | None
    owner: str
    mkdir: bool
    schema_file: str = ""


class Declared(NamedTuple):
    """All inputs and outputs of a launch."""

    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]


def declared(profile: Profile) -> Declared:
    """What the profile says, with paths as they are here and the schemas read. Raises ProfileError with all problems."""
    problems: list[Problem] = []
    inputs = [_input(members, problems) for members in _united(profile.items(INPUT)).values()]
    outputs = [_output(members, problems) for members in _united(profile.items(OUTPUT)).values()]
    _check_names(outputs, problems)
    if problems:
        raise ProfileError(problems)
    return Declared(tuple(each for each in inputs if each), tuple(each for each in outputs if each))


_Members = dict[str, Value]
"""By the name of each key that somebody wrote: its value, and the origin of the entry."""


def _united(values: Iterable[Value]) -> dict[str, _Members]:
    """What is said of each name. The later value of a key wins; to say nothing of a check takes none away."""
    found: dict[str, _Members] = {}
    for value in values:
        fields: Mapping[str, Any] = value.value._asdict()  # type: ignore[attr-defined]
        members = found.setdefault(_key(fields["name"]), {})
        members.update({name: Value(member, value.origin) for name, member in fields.items() if member is not None})
    return found


def _key(name: str) -> str:
    """Names that differ only in what a variable cannot tell are one name."""
    return name.upper().replace("-", "_")


def _input(members: _Members, problems: list[Problem]) -> Input | None:
    name = str(members["name"].value)
    path = _path(name, members, "--in", problems)
    optional = "optional" in members and bool(members["optional"].value)
    return Input(name, path, optional, members.get("path", members["name"]).origin) if path else None


def _output(members: _Members, problems: list[Problem]) -> Output | None:
    name = str(members["name"].value)
    origin = members.get("path", members["name"]).origin
    path = _path(name, members, "--out", problems)

    def member(key: str, otherwise: Any) -> Any:
        return members[key].value if key in members else otherwise

    schema: Schema | None = None
    schema_file = ""
    read: tuple[str, ...] = ()
    try:
        if "json_schema" in members:
            schema, schema_file = _schema(members["json_schema"])
        read = tuple(_place(each, members["validator_read"].origin) for each in member("validator_read", ()))
    except ProfileError as error:
        problems += error.problems
    if "validator_read" in members and "validator" not in members:
        problems.append(Problem(str(origin), f"output {name} has a validator_read and no validator"))
    directory = members["validator"].origin.directory if "validator" in members else ""
    if not path:
        return None
    return Output(
        name=name,
        path=path,
        origin=origin,
        max_size=member("max_size", DEFAULT_MAX_SIZE),
        utf8=member("utf8", otherwise=False),
        line=member("line", ""),
        schema=schema,
        validator=tuple(word.replace(f"${{{PROFILE_DIR}}}", directory) for word in member("validator", ())),
        validator_read=read,
        validator_timeout=member("validator_timeout", DEFAULT_VALIDATOR_TIMEOUT),
        mode=member("mode", None),
        owner=member("owner", ""),
        mkdir=member("mkdir", otherwise=False),
        schema_file=schema_file,
    )


def _path(name: str, members: _Members, flag: str, problems: list[Problem]) -> str:
    """The absolute path, "" if there is none: then that is a problem."""
    if "path" not in members:
        kind = "input" if flag == "--in" else "output"
        problems.append(
            Problem(str(members["name"].origin), f"{kind} {name} has no path", f"give it: {flag} {name}=PATH")
        )
        return ""
    try:
        return _place(members["path"].value, members["path"].origin)
    except ProfileError as error:
        problems += error.problems
        return ""


def _place(entry: Any, origin: Origin) -> str:
    """The path of an entry; a group is itself. `~` is the home of the caller, who opens these files."""
    if entry.group:
        return str(entry.group)
    host = System()
    return expand(Value(entry, origin), host, home_of(host, host.account(host.uid)))[0]


def _schema(value: Value) -> tuple[Schema, str]:
    """The schema, and its file, "" if it stands in the profile. Raises ProfileError."""
    text = value.value
    path = ""
    where = str(value.origin)
    try:
        if isinstance(text, PathEntry):
            path = _place(text, value.origin)
            where = f"{where}: {path}"
            with open(path, "rb") as file:
                data = file.read(_MOST_SCHEMA + 1)
            if len(data) > _MOST_SCHEMA:
                raise Bad("a schema has at most 1M")
            text = data.decode()
        return Schema(parse(str(text))), path
    except Bad as bad:
        raise ProfileError([Problem(f"{where}{bad.at}", bad.message, bad.hint)]) from None
    except OSError as error:
        raise ProfileError([Problem(where, f"cannot read the schema: {os.strerror(error.errno or 0)}")]) from None
    except ValueError as error:
        raise ProfileError([Problem(where, f"not JSON: {error}")]) from None


def _check_names(outputs: Iterable[Output | None], problems: list[Problem]) -> None:
    """Two outputs of one target would be one after the other."""
    seen: dict[str, Output] = {}
    for output in outputs:
        if output is None:
            continue
        path = os.path.join(os.path.realpath(os.path.dirname(output.path)), os.path.basename(output.path))
        if path in seen:
            message = f"outputs {seen[path].name} and {output.name} have the same target: {quoted(output.path)}"
            problems.append(Problem(str(output.origin), message))
        seen[path] = output
