"""`Profile`: a profile that is built in Python."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sandrun.library import toml, words
from sandrun.profile.keys import TABLE, UNION

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandrun.profile.keys import Key


class Profile:
    """A profile, built by methods that each return a new one: `Profile.default().read("/data").limit(nofile=64)`.

    There is a method for each key, by the name of its option or by its path (`connect`, `network_connect`).
    """

    __slots__ = ("bases", "entries")

    def __init__(self, *bases: str) -> None:
        """Start from the profiles of these names or paths; without any, from nothing."""
        self.bases = bases
        self.entries: tuple[tuple[Key, object], ...] = ()

    @classmethod
    def default(cls) -> Profile:
        """What a launch without a profile has."""
        return cls("default")

    @classmethod
    def none(cls) -> Profile:
        """Nothing is granted."""
        return cls()

    def __getattr__(self, name: str) -> Callable[..., Profile]:
        if name.startswith("_"):
            raise AttributeError(name)
        key = words.key_named(name)
        return lambda *values, **names: self._with(key, _given(key, values, names))

    def limit(self, **limits: int | str) -> Profile:
        """Lower resource limits, by the names of setrlimit(2) in lower case: `limit(nofile=64, cpu="10:20")`."""
        return self._with(words.key_named("rlimit"), limits)

    def env(self, *names: str, **values: str) -> Profile:
        """Pass variables on by name, and set others."""
        passed = self._with(words.key_named("environment_pass"), list(names)) if names else self
        return passed._with(words.key_named("environment_set"), values) if values else passed

    def _with(self, key: Key, value: object) -> Profile:
        made = Profile(*self.bases)
        made.entries = (*self.entries, (key, value))
        return made

    def document(self) -> dict[str, Any]:
        """The profile in the shape that TOML gives it, without the variables that it sets."""
        document: dict[str, Any] = {"extends": list(self.bases)} if self.bases else {}
        for key, value in self.entries:
            if key.path == "environment.set":
                continue
            table, _, name = key.path.partition(".")
            values = document.setdefault(table, {})
            if not name:
                values.update(value)
            elif key.merge == UNION:
                values[name] = [*values.get(name, []), *value]  # type: ignore[misc]
            else:
                values[name] = value
        return document

    def variables(self) -> dict[str, str]:
        """The variables that it sets."""
        found: dict[str, str] = {}
        for key, value in self.entries:
            if key.path == "environment.set":
                found.update(value)  # type: ignore[call-overload]
        return found

    def to_toml(self) -> str:
        """The text of a profile file that says the same."""
        document = self.document()
        if self.variables():
            document.setdefault("environment", {})["set"] = self.variables()
        return toml.text({"schema": 1, **document})


def _given(key: Key, values: tuple[object, ...], names: dict[str, object]) -> object:
    if key.merge == TABLE:
        return names
    if key.merge == UNION:
        flat = [one for value in values for one in (value if isinstance(value, list | tuple) else [value])]
        return words.key_value(key, flat)
    return words.key_value(key, values[0] if values else True)
