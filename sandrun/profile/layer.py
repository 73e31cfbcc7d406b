"""A document, or the flags of a command line → one layer: typed values with their origins, every problem collected."""

from __future__ import annotations

from sandrun.errors import Problem
from sandrun.named import MappingProxyType, NamedTuple
from sandrun.profile import values
from sandrun.profile.bad import Bad, escaped, expected, quoted, unknown
from sandrun.profile.keys import BY_PATH, KEYS, TABLE, TABLES, TOP_KEYS, UNION, Key
from sandrun.profile.merge import contradictions, unite
from sandrun.profile.model import COMMAND_LINE, Origin, Profile, Value
from sandrun.profile.names import RLIMITS
from sandrun.profile.source import BARE
from sandrun.profile.units import limit, string

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from sandrun.profile.source import Place

SCHEMA = 1
TOP_NAMES = tuple(name for name, _, _ in TOP_KEYS)


class Layer(NamedTuple):
    """What one file says by itself: `profile` has its own values only, the rest is for whoever composes it."""

    profile: Profile
    extends: tuple[Value, ...] = ()
    replace: tuple[Value, ...] = ()
    optional: tuple[Value, ...] = ()


def dotted(place: Place) -> str:
    """A place in a document as people write it: `filesystem.read[2]`."""
    text = ""
    for part in place:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + (part if part and BARE.issuperset(part) else quoted(part))
    return text


def key_of(path: str) -> Key | None:
    """The declaration behind a key path; for `rlimits.nofile` that of its table."""
    key = BY_PATH.get(path)
    if key is None:
        for table, declared in BY_PATH.items():
            if declared.merge == TABLE and path.startswith(table + "."):
                return declared
    return key


class _Collector:
    """Typed values and problems in the making, of one source."""

    def __init__(self, source: str, directory: str, lines: Mapping[Place, int]) -> None:
        self.source = source
        self.directory = directory
        self.lines = lines
        self.values: dict[str, list[Value]] = {}
        self.problems: list[Problem] = []
        self.optional: frozenset[str] = frozenset()

    def origin(self, place: Place) -> Origin:
        known = place
        while known and known not in self.lines:
            known = known[:-1]
        return Origin(self.source, dotted(place), self.lines.get(known, 0), self.directory)

    def bad(self, origin: Origin, error: Bad) -> None:
        for one in error.all():
            self.problems.append(Problem(f"{origin}{one.at}", one.message, one.hint))

    def add(self, path: str, origin: Origin, read: Callable[..., Iterable[object]], *arguments: object) -> None:
        """Append what `read(*arguments)` gives to the values of a key path."""
        several = self.values.setdefault(path, [])
        try:
            optional = path in self.optional or (path.partition(".")[0] in self.optional)
            several.extend(Value(value, origin, optional) for value in read(*arguments))
        except Bad as error:
            self.bad(origin, error)

    def profile(self) -> Profile:
        # The same entry twice in one layer is one entry, as it is over two.
        merged = {path: unite(several, ()) for path, several in self.values.items()}
        mapping = MappingProxyType(merged)
        asked = MappingProxyType({path: several for path, several in merged.items() if several})
        return Profile(name="", layers=(self.source,), values=mapping, asked=asked)


def read_document(
    data: Mapping[str, object], source: str, directory: str, lines: Mapping[Place, int], *, merged: bool = False
) -> tuple[Layer, list[Problem]]:
    """The layer of a parsed file. A layer that comes with problems is not to be used.

    `merged`: it holds what several files and flags said, so that one may deny what another grants.
    """
    into = _Collector(source, directory, lines)
    top = _TopKeys(into)
    for name, raw in data.items():
        if name in TOP_NAMES:
            top.read(name, raw)
    into.optional = frozenset(str(value.value) for value in top.lists["optional"])
    for name, raw in data.items():
        if name in TABLES:
            _read_table(into, name, raw)
        elif name not in TOP_NAMES:
            into.bad(into.origin((name,)), _unknown_key(name, (*TABLES, *TOP_NAMES), ""))
    profile = into.profile()._replace(description=top.description, require=tuple(top.lists["require"]))
    layer = Layer(profile, tuple(top.lists["extends"]), tuple(top.lists["replace"]), tuple(top.lists["optional"]))
    if merged:
        return layer, into.problems
    into.problems += contradictions(profile.values)
    for value in top.lists["optional"]:
        key = str(value.value)
        if not any(path == key or path.startswith(key + ".") for path in profile.values):
            message = f"{key} is not set in this file, and what others ask for stays required"
            hint = f"set it here too, or drop the inherited value: replace = [{quoted(key)}]"
            into.problems.append(Problem(str(value.origin), message, hint))
    return layer, into.problems


class _TopKeys:
    """The keys above the tables."""

    def __init__(self, into: _Collector) -> None:
        self.into = into
        self.description = ""
        self.lists: dict[str, list[Value]] = {"extends": [], "replace": [], "optional": [], "require": []}

    def read(self, name: str, raw: object) -> None:
        origin = self.into.origin((name,))
        try:
            if name == "schema":
                _check_schema(raw)
            elif name == "description":
                self.description = _line(raw)
            elif name == "extends" and isinstance(raw, str):
                self.lists[name].append(Value(string(raw), origin))
            elif isinstance(raw, list):
                for index, item in enumerate(raw):
                    self.item(name, self.into.origin((name, index)), item)
            else:
                raise expected("a string or an array" if name == "extends" else "an array", raw)
        except Bad as error:
            self.into.bad(origin, error)

    def item(self, name: str, origin: Origin, raw: object) -> None:
        try:
            text = string(raw)
            if name in ("replace", "optional"):
                check_key(text, protection=name == "optional")
            elif name == "require":
                check_fact(text)
            self.lists[name].append(Value(text, origin))
        except Bad as error:
            self.into.bad(origin, error)


def _check_schema(raw: object) -> None:
    if not isinstance(raw, int) or isinstance(raw, bool):
        raise expected("an integer", raw, f"schema = {SCHEMA}")
    if raw != SCHEMA:
        raise Bad("unknown version of the profile language", f"this sandrun reads schema = {SCHEMA}")


def _line(raw: object) -> str:
    text = string(raw)
    if not text.isprintable():
        raise Bad("a description is one line of text")
    return text


def check_key(path: str, *, protection: bool) -> None:
    """Raise Bad unless `path` is a key path; with `protection`, of one that a kernel could fail to keep."""
    key = key_of(path)
    if key is None or (key.path == "rlimits" and path != "rlimits" and path.partition(".")[2] not in RLIMITS):
        table = [f"{path}.{name}" for name in _names_in(path)]
        hint = "name its keys: " + ", ".join(table) if table else None
        bad = unknown("key", path, BY_PATH)
        bad.hint = hint or bad.hint
        raise bad
    if protection and not key.protection:
        raise Bad(f"{path} is always kept, so it cannot be optional")


def check_fact(text: str) -> None:
    """Raise Bad unless `text` has the form of a fact of the doctor: `userns`, `landlock>=4`."""
    name, sign, number = text.partition(">=")
    good_name = name and set(name) <= BARE and name[0].isalpha()
    if not good_name or (sign and not (number.isascii() and number.isdecimal())):
        raise Bad(f"not a requirement: {quoted(text)}", "write NAME or NAME>=NUMBER, with the names of sandrun doctor")


def _names_in(table: str) -> list[str]:
    return [key.path.partition(".")[2] for key in KEYS if key.table == table and key.path != table]


def _unknown_key(name: str, choices: Sequence[str], table: str) -> Bad:
    """An unknown key or table, with the table it belongs in if that is the mistake."""
    like = name.replace("-", "_")
    homes = [key.path for key in KEYS if like in (key.path, key.path.partition(".")[2]) and key.table != table]
    bad = unknown("key" if table else "key or table", name, choices)
    if homes and (bad.hint is None or not table):
        bad.hint = "it belongs in " + " or ".join(f"[{home.partition('.')[0]}]" for home in homes)
    elif name in TOP_NAMES:
        bad.hint = "it belongs at the top of the file, before the first table"
    elif bad.hint is None:
        bad.hint = "one of " + ", ".join(choices)
    return bad


def _read_table(into: _Collector, table: str, raw: object) -> None:
    if not isinstance(raw, dict):
        into.bad(into.origin((table,)), expected("a table", raw, f"write [{table}] on a line of its own"))
        return
    whole = BY_PATH.get(table)
    if whole is not None:
        _read_names(into, whole, (table,), raw)
        return
    for name, value in raw.items():
        key = BY_PATH.get(f"{table}.{name}")
        place = (table, name)
        if key is None:
            into.bad(into.origin(place), _unknown_key(name, _names_in(table), table))
        elif key.merge == TABLE:
            _read_names(into, key, place, value)
        elif key.merge == UNION:
            _read_list(into, key, place, value)
        else:
            into.add(key.path, into.origin(place), values.READERS[key.kind], value, key)


def _read_list(into: _Collector, key: Key, place: Place, raw: object) -> None:
    if not isinstance(raw, list):
        hint = (
            f"write [{quoted(raw)}]"
            if isinstance(raw, str) and key.kind not in ("rules", "broker-input", "broker-output")
            else None
        )
        into.bad(into.origin(place), expected("an array", raw, hint))
        return
    read = values.READERS[key.kind]
    into.values.setdefault(key.path, [])
    for index, item in enumerate(raw):
        into.add(key.path, into.origin((*place, index)), read, item, key)


def _read_names(into: _Collector, key: Key, place: Place, raw: object) -> None:
    """A table of names: `rlimits`, `environment.set`."""
    if not isinstance(raw, dict):
        into.bad(into.origin(place), expected("a table", raw))
        return
    for name, value in raw.items():
        origin = into.origin((*place, name))
        into.add(f"{key.path}.{name}", origin, _named, key, name, value)


def _named(key: Key, name: str, raw: object) -> list[object]:
    return [limit(name, raw) if key.kind == "rlimit-table" else values.variable(name, raw)]


def _flag_value(key: Key, text: str) -> list[object]:
    return values.READERS[key.kind](values.from_text(text, key), key)


def read_flags(flags: Iterable[tuple[str, str, str]]) -> tuple[Profile, list[Problem]]:
    """The layer of the command line: (key path, text, flag as written) in order. Later scalars win."""
    into = _Collector(COMMAND_LINE, "", {})
    for written, text, flag in flags:
        # `--env NAME=VALUE` is the shorter way to write an entry of environment.set.
        assigned = written == "environment.pass" and "=" in text
        key = BY_PATH["environment.set" if assigned else written]
        origin = Origin(COMMAND_LINE, flag)
        if key.merge == TABLE:
            name, equals, value = text.partition("=")
            if not equals:
                into.bad(origin, Bad(f"not an assignment: {quoted(text)}", f"write {key.metavar}"))
                continue
            path = f"{key.path}.{name}"
            into.values.pop(path, None)
            into.add(path, origin, _named, key, name, value)
            continue
        if key.merge != UNION:
            into.values.pop(key.path, None)
        into.add(key.path, origin, _flag_value, key, text)
    profile = into.profile()
    return profile._replace(layers=(COMMAND_LINE,) if profile.values else ()), into.problems


def flag_values(
    words: Iterable[str], flag: str, check: Callable[[str], None]
) -> tuple[tuple[Value, ...], list[Problem]]:
    """The values of `--replace`, `--optional` or `--require`."""
    origin = Origin(COMMAND_LINE, flag)
    read: list[Value] = []
    problems: list[Problem] = []
    for word in words:
        try:
            check(string(word))
            read.append(Value(word, origin))
        except Bad as error:
            problems.append(Problem(escaped(flag), error.message, error.hint))
    return tuple(read), problems
