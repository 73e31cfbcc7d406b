"""The nouns of a profile: typed values, each with the place it came from, and the profile that holds them.

Immutable. Only types and their accessors live here: reading TOML is `load`, the declaration of keys is `keys`, merging
is `merge`. They are named tuples and not dataclasses because every launch pays for their creation.

The type of `Value.value` follows from the `kind` of its key:

| kind | type |
| --- | --- |
| paths, path | PathEntry (`path`: never a group, a wildcard or optional) |
| rules | AccessRule |
| endpoints | Endpoint |
| unix | PathEntry, or a str `abstract:NAME` |
| cidrs | str, canonical: `10.0.0.0/8` |
| families | str, lower case, without `AF_`: `netlink`; `@all` |
| syscalls | str: a name, an `@set`, a raw number in decimal; `@all` is already `@known` |
| promises, namespaces, securebits | str; `@all` is already every name |
| syscall-rules | SyscallRule |
| capabilities | str, upper case, with `CAP_`; `@all` |
| user, group, groups | int for a number, else str |
| env-names | str: a name, a glob, `@basic`, `@all` |
| env-table | Hidden (a str whose repr does not show it) |
| rlimit-table | Limit in the kernel's units: bytes, seconds, microseconds for `rttime`, else a number |
| enum, string | str |
| bool | bool |
| isolate | True, False or "signals" |
| octal, nice, count, fds | int |
| size | int, bytes |
| percent | int, percent |
| broker-input, broker-output | BrokerInput, BrokerOutput: what one layer says of a name; `brokered.declared` unites them |
| duration | int or float, seconds |
"""

from __future__ import annotations

from sandrun.named import MappingProxyType, NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

COMMAND_LINE = "command line"


class Hidden(str):
    """The value of an environment variable: a str that no repr, and so no traceback or log, shows."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Hidden('…')"


class Origin(NamedTuple):
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


class PathEntry(NamedTuple):
    """One entry of a path list, not yet expanded.

    Exactly one of `group` ("@system") and `path` is set. `path` still has its `~`, `${NAME}` and wildcards
    (`paths.expand` gives the paths). `optional`: the entry ended in `?` (skip if absent). `@all` is the group "@all".
    """

    text: str
    group: str = ""
    path: str = ""
    optional: bool = False


class Endpoint(NamedTuple):
    """One network endpoint. `kind`: "all" (`*`), "any" (any host), "name", "address", "cidr" or "group" (`@dns`).

    `text` is the canonical spelling. `host` is a lower-case A-label name, perhaps `*.` and a name; an address or a
    network in canonical form without brackets; or the group. `protocol` is "tcp", "udp" or "" (both). Ports are
    inclusive; (0, 65535) is any port, (0, 0) in `bind` is a port of the kernel's choice.
    """

    text: str
    kind: str
    protocol: str = ""
    host: str = ""
    first_port: int = 0
    last_port: int = 65535


class AccessRule(NamedTuple):
    """`filesystem.rules`: Landlock rights by name on one path, optionally shown elsewhere (`at`)."""

    path: PathEntry
    access: tuple[str, ...]
    at: str = ""


class SyscallRule(NamedTuple):
    """`syscalls.rules`: an action for one syscall where its argument `arg` (0 to 5) compares so with `value`.

    `syscall` is a name or a raw number in decimal, `value` and `mask` are 0 to 2**64 - 1. `op` is eq, ne, lt, le, gt,
    ge or masked_eq (then `mask` counts); `action` is allow, errno (EPERM), errno:NAME, kill-process or log.
    """

    syscall: str
    arg: int
    op: str
    value: int
    action: str
    mask: int = 0


class BrokerInput(NamedTuple):
    """`broker.input`: a file that the command gets as a descriptor. None is what nobody has written."""

    name: str
    path: PathEntry | None = None
    optional: bool | None = None


class BrokerOutput(NamedTuple):
    """`broker.output`: what the command may leave, and what it is held to. None is what nobody has written.

    Sizes are bytes, times seconds. `json_schema` is a file, or the text of a schema.
    """

    name: str
    path: PathEntry | None = None
    max_size: int | None = None
    utf8: bool | None = None
    line: str | None = None
    json_schema: PathEntry | str | None = None
    validator: tuple[str, ...] | None = None
    validator_read: tuple[PathEntry, ...] | None = None
    validator_timeout: int | float | None = None
    mode: int | None = None
    owner: str | None = None
    mkdir: bool | None = None


class Limit(NamedTuple):
    """A resource limit: soft, and hard where the profile names one. None is "unlimited"."""

    soft: int | None
    hard: int | None
    has_hard: bool = False


class Value(NamedTuple):
    """One typed value and its origin. `optional`: the layer that wrote it listed the key under `optional`."""

    value: object
    origin: Origin
    optional: bool = False


_NOTHING: Mapping[str, tuple[Value, ...]] = MappingProxyType({})


class Profile(NamedTuple):
    """A merged profile: for each key path that anyone wrote, its values in order.

    A list key has one `Value` an item, a scalar key exactly one, a table of names (`rlimits`, `environment.set`) one
    a name under `table.name` (`rlimits.nofile`). An empty list that was written is present with no values.
    """

    name: str
    description: str = ""
    layers: tuple[str, ...] = ()
    """The sources that took part, in the order in which they were merged."""
    values: Mapping[str, tuple[Value, ...]] = _NOTHING
    asked: Mapping[str, tuple[Value, ...]] = _NOTHING
    """Every layer's ask, also those a later layer overrode or repeated (`optional` holds if all that ask agree)."""
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
        if key in self.optional_flags or key.partition(".")[0] in self.optional_flags:
            return True
        asks = _below(self.asked, key) or _below(self.values, key)
        return bool(asks) and all(value.optional for value in asks)

    def origins(self, key: str) -> tuple[str, ...]:
        """Who asked, as text, without repetition, in order."""
        return tuple(dict.fromkeys(str(value.origin) for value in _below(self.values, key)))


def _below(values: Mapping[str, tuple[Value, ...]], key: str) -> tuple[Value, ...]:
    """The values of a key, and of every name where the key is a table of names (`rlimits`)."""
    found = values.get(key)
    if found is not None:
        return found
    prefix = key + "."
    return tuple(value for name, several in values.items() if name.startswith(prefix) for value in several)
