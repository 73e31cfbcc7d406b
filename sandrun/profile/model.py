"""The nouns of a profile: typed values, each with the place it came from, and the profile that holds them.

Immutable. Only types and their accessors live here: reading TOML is `load`, the declaration of keys is `keys`, merging
is `merge`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

COMMAND_LINE = "command line"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value was written.

    `source` is the profile's file path, `builtin:NAME`, or `COMMAND_LINE`; `key` is the key path with its index
    (`filesystem.read[2]`) or the flag (`--read`); `directory` is what `${PROFILE_DIR}` means there ("" for flags).
    `line` counts from 1; 0 is unknown.
    """

    source: str
    key: str
    line: int = 0
    directory: str = ""

    def __str__(self) -> str:
        if self.source == COMMAND_LINE:
            return self.key
        place = f"{self.source}:{self.line}" if self.line else self.source
        return f"{place}: {self.key}"


@dataclass(frozen=True, slots=True)
class PathEntry:
    """One entry of a path list, not yet expanded.

    Exactly one of `group` ("@system") and `path` is set. `path` still has its `~`, `${NAME}` and wildcards unless
    `literal` (written `./@x`). `optional`: the entry ended in `?` (skip if absent).
    `@all` is the group "@all".
    """

    text: str
    group: str = ""
    path: str = ""
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One network endpoint. `kind`: "all" (`*`), "any" (any host), "name", "address", "cidr" or "group" (`@dns`).

    `protocol` is "tcp", "udp" or "" (both). Ports are inclusive; (0, 65535) is any port.
    """

    text: str
    kind: str
    protocol: str = ""
    host: str = ""
    first_port: int = 0
    last_port: int = 65535


@dataclass(frozen=True, slots=True)
class AccessRule:
    """`filesystem.rules`: Landlock rights by name on one path, optionally shown elsewhere (`at`)."""

    path: PathEntry
    access: tuple[str, ...]
    at: str = ""


@dataclass(frozen=True, slots=True)
class SyscallRule:
    """`syscalls.rules`: an action for one syscall where its argument `arg` (0 to 5) compares so with `value`.

    `op` is eq, ne, lt, le, gt, ge or masked_eq (then `mask` counts); `action` is allow, errno, errno:NAME,
    kill-process or log.
    """

    syscall: str
    arg: int
    op: str
    value: int
    action: str
    mask: int = 0


@dataclass(frozen=True, slots=True)
class Limit:
    """A resource limit: soft, and hard where the profile names one. None is "unlimited"."""

    soft: int | None
    hard: int | None
    has_hard: bool = False


@dataclass(frozen=True, slots=True)
class Value:
    """One typed value and its origin. `optional`: the layer that wrote it listed the key under `optional`."""

    value: object
    origin: Origin
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Profile:
    """A merged profile: for each key path that anyone wrote, its values in order.

    A list key has one `Value` an item, a scalar key exactly one, a table of names (`rlimits`, `environment.set`) one
    a name under `table.name` (`rlimits.nofile`). An empty list that was written is present with no values.
    """

    name: str
    description: str = ""
    layers: tuple[str, ...] = ()
    values: Mapping[str, tuple[Value, ...]] = field(default_factory=lambda: MappingProxyType({}))
    asked: Mapping[str, tuple[Value, ...]] = field(default_factory=lambda: MappingProxyType({}))
    """For scalars: every layer's ask, also those a later layer overrode (`optional` holds if all that ask agree)."""
    require: tuple[Value, ...] = ()
    replaced: tuple[Value, ...] = ()
    """The `replace` entries that took effect, for the plan to show."""
    optional_flags: frozenset[str] = frozenset()
    """Key paths of `--optional`: these hold over what the layers say."""

    def items(self, key: str) -> tuple[Value, ...]:
        """The values of a list key, or () if nobody wrote it."""
        return self.values.get(key, ())

    def scalar(self, key: str) -> Value | None:
        """The value of a scalar key, or None if nobody wrote it."""
        values = self.values.get(key)
        return values[-1] if values else None

    def names(self, table: str) -> dict[str, Value]:
        """The entries of a table of names: `names("rlimits")["nofile"]`."""
        prefix = table + "."
        return {
            key[len(prefix) :]: values[-1] for key, values in self.values.items() if key.startswith(prefix) and values
        }

    def is_optional(self, key: str) -> bool:
        """Whether this protection may be lost here: every layer that asks for it agrees, or a flag says so."""
        if key in self.optional_flags:
            return True
        asks = self.asked.get(key) or self.values.get(key, ())
        return bool(asks) and all(value.optional for value in asks)

    def origins(self, key: str) -> tuple[str, ...]:
        """Who asked, as text, without repetition, in order."""
        return tuple(dict.fromkeys(str(value.origin) for value in self.values.get(key, ())))
