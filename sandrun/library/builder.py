"""`Profile`: a profile that is built in Python."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sandrun.errors import UsageError
from sandrun.library import toml, words
from sandrun.profile.bad import Bad
from sandrun.profile.keys import BY_PATH, KEYS, TABLE, UNION
from sandrun.profile.values import from_text

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from sandrun.profile.keys import Key

    Entry = tuple[str, Any]

_SET = "environment.set"
_TOP = ("replace", "optional", "require")


class Profile:
    """A profile, built by methods of which each returns a new one.

        Profile.default().read("/data").connect("pypi.org:443").limit(nofile=64)

    There is a method for each key (sandrun-profile(5)), by the name of its option or in full: `connect`,
    `network_connect`. Methods of lists take several values and add them; `replace("network.connect")` drops what the
    profiles below say first. What a value may be is checked at the launch, by the code that reads profile files.
    """

    __slots__ = ("bases", "entries")
    bases: tuple[str, ...]
    """The profiles that it starts from, by name or path."""
    entries: tuple[Entry, ...]
    """What was added: the path of each key, and its value as TOML has it."""

    def __init__(self, *bases: str | os.PathLike[str], entries: tuple[Entry, ...] = ()) -> None:
        """Start from the profiles of these names or paths, the later on top; without any, from nothing."""
        object.__setattr__(self, "bases", tuple(words.profile_word(base) for base in bases))
        object.__setattr__(self, "entries", entries)

    @classmethod
    def default(cls) -> Profile:
        """What a launch without a profile has."""
        return cls(words.DEFAULT)

    @classmethod
    def none(cls) -> Profile:
        """Nothing is granted."""
        return cls()

    def limit(self, **limits: int | str) -> Profile:
        """Lower resource limits, by their names in setrlimit(2): `limit(nofile=64, cpu="10:20")`."""
        return self._with("rlimits", limits)

    def env(self, *names: str, **values: str) -> Profile:
        """Pass variables on by name, and set others. Values are in no command line, and in nothing that is printed."""
        passed = self._with("environment.pass", list(names)) if names else self
        return passed._with(_SET, values) if values else passed

    def input(self, name: str, path: str | os.PathLike[str] | None = None, *, optional: bool | None = None) -> Profile:
        """Let the command read a file as the input `name`, without a right to open it: `input("notes", "notes.txt")`.

        What is left out is what the profiles below say of the name; `optional` inputs may be absent.
        """
        return self._with("broker.input", [_brokered(name, {"path": path, "optional": optional})])

    def output(self, name: str, path: str | os.PathLike[str] | None = None, **asked: Any) -> Profile:
        """Have the output `name` written to a file, once it is what is asked: `output("rules", "rules.txt", max_size="64K")`.

        What can be asked has the names of `[broker]` in sandrun-profile(5): `max_size`, `utf8`, `line`, `json_schema`,
        `validator`, `validator_read`, `validator_timeout`, `mode` (such as 0o640), `owner` and `mkdir`.
        """
        return self._with("broker.output", [_brokered(name, {"path": path, **asked})])

    def replace(self, *keys: str) -> Profile:
        """Drop what the profiles below say for these keys."""
        return self._with("replace", list(keys))

    def optional(self, *keys: str) -> Profile:
        """Run even where the kernel cannot keep the protections of these keys."""
        return self._with("optional", list(keys))

    def require(self, *facts: str) -> Profile:
        """Refuse to run unless `sandrun doctor` finds these facts: `landlock>=4`."""
        return self._with("require", list(facts))

    def __getattr__(self, name: str) -> Callable[..., Profile]:
        if name.startswith("_"):
            raise AttributeError(name)
        key = words.key_named(name)
        return lambda *values, **names: self._with(key.path, _given(key, values, names))

    def __dir__(self) -> list[str]:
        return [*object.__dir__(self), *words.names(), *(key.path.replace(".", "_") for key in KEYS)]

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("a Profile does not change: each of its methods returns a new one")

    def __delattr__(self, name: str) -> None:
        raise AttributeError("a Profile does not change")

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (self.bases, self.entries)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Profile) and (self.bases, self.entries) == (other.bases, other.entries)

    def __hash__(self) -> int:
        return hash(repr(self.__reduce__()))

    def __repr__(self) -> str:
        shown = (f".{path}({'...' if path == _SET else repr(value)})" for path, value in self.entries)
        return f"Profile({', '.join(map(repr, self.bases))}){''.join(shown)}"

    def _with(self, path: str, value: object) -> Profile:
        return Profile(*self.bases, entries=(*self.entries, (path, value)))

    def document(self) -> dict[str, Any]:
        """The profile in the shape that TOML gives it, without the variables that it sets."""
        document: dict[str, Any] = {"extends": list(self.bases)} if self.bases else {}
        for path, value in self.entries:
            if path in _TOP:
                document[path] = [*document.get(path, []), *value]
            elif path != _SET:
                words.add(document, BY_PATH[path], value)
        return document

    def variables(self) -> dict[str, str]:
        """The variables that it sets."""
        return {name: value for path, values in self.entries if path == _SET for name, value in values.items()}

    def words(self) -> tuple[str, ...]:
        """The options of a command line that say the same; a variable that it sets is named only, as in `-e NAME`.

        Raises UsageError for what only a file can say.
        """
        said = words.document_flags(self.document())
        if said is None:
            raise UsageError("no options say what this profile says", hint="write its to_toml() to a file")
        return (*(f"--profile={name}" for name in said[0]), *said[1], *(f"--env={name}" for name in self.variables()))

    def to_toml(self) -> str:
        """The text of a profile file that says the same, the values of variables too. Raises UsageError."""
        document = {table: _spelled_out(table, value) for table, value in self.document().items()}
        if self.variables():
            document.setdefault("environment", {})["set"] = self.variables()
        return toml.text({"schema": 1, **document})


def _rebuilt(bases: tuple[str, ...], entries: tuple[Entry, ...]) -> Profile:
    return Profile(*bases, entries=entries)


def _spelled_out(table: str, value: Any) -> Any:
    """One table as a file has it: an entry that an option says in one word may be a table there. Raises UsageError."""
    if table in _TOP or not isinstance(value, dict):
        return value
    return {name: _entries(BY_PATH.get(f"{table}.{name}"), given) for name, given in value.items()}


def _entries(key: Key | None, given: Any) -> Any:
    if key is None or key.merge != UNION:
        return given
    try:
        return [from_text(one, key) if isinstance(one, str) else one for one in given]
    except Bad as error:
        raise UsageError(f"{key.path}: {error.message}", hint=error.hint) from None


def _brokered(name: str, members: dict[str, Any]) -> dict[str, Any]:
    """The table of an input or output: of what is said, paths as text and a mode in octal."""
    told = {key: value for key, value in members.items() if value is not None}
    for key, value in told.items():
        if isinstance(value, list | tuple):
            told[key] = [words.text(one) for one in value]
        elif key == "mode" and isinstance(value, int):
            told[key] = f"{value:04o}"
        else:
            told[key] = words.text(value)
    return {"name": name, **told}


def _given(key: Key, values: tuple[object, ...], names: dict[str, object]) -> object:
    """The value of a key from the arguments of its method. Raises UsageError."""
    if key.merge == TABLE:
        if values:
            raise UsageError(f"{key.path} takes names: write NAME=VALUE")
        return names
    if names:
        raise UsageError(f"{key.path} takes no names: {', '.join(names)}")
    if key.merge == UNION:
        flat = [one for value in values for one in (value if isinstance(value, list | tuple) else [value])]
        return words.key_value(key, flat)
    if len(values) > 1 or (not values and key.kind not in ("bool", "isolate")):
        raise UsageError(f"{key.path} takes one value, got {len(values)}")
    return words.key_value(key, values[0] if values else True)
