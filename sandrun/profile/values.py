"""One reader for each `kind` of key: a TOML value → typed values. A flag's text is first made into that TOML value.

A reader returns a list, since `@all` may stand for several names. It raises Bad with every problem of its value. Values
of environment variables never enter a message.
"""

from __future__ import annotations

from sandrun.profile import endpoints, paths, rules
from sandrun.profile.bad import Bad, expected, quoted, unknown
from sandrun.profile.model import Hidden
from sandrun.profile.names import ENVIRONMENT_GROUPS, NAMESPACES
from sandrun.profile.rules import ALL, syscall
from sandrun.profile.units import MOST, integer, number, seconds, short, size, string

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sandrun.profile.keys import Key

    Reader = Callable[[object, Key], list[object]]

LAST_ID = 2**32 - 2
"""The largest uid or gid; 2**32 - 1 means "leave as it is" to setresuid(2)."""
HOST_NAME_MAX = 64


def _string(raw: object, key: Key) -> list[object]:
    text = string(raw)
    if not text.isprintable():
        raise Bad("control characters have no place here")
    if key.path == "process.hostname" and len(text.encode("utf-8", "surrogateescape")) > HOST_NAME_MAX:
        raise Bad(f"a host name has at most {HOST_NAME_MAX} bytes")
    return [text]


def _enum(raw: object, key: Key) -> list[object]:
    if not isinstance(raw, str):
        raise expected("a string", raw, f"one of {', '.join(key.choices)}")
    if raw not in key.choices:
        raise unknown("value", raw, key.choices, list_them=True)
    return [raw]


def _bool(raw: object, _key: Key) -> list[object]:
    if not isinstance(raw, bool):
        raise expected(
            "a boolean", raw, f"write {raw}, without quotes" if raw in ("true", "false") else "true or false"
        )
    return [raw]


def _isolate(raw: object, _key: Key) -> list[object]:
    if raw is True or raw is False or raw == "signals":
        return [raw]
    if isinstance(raw, str) and raw not in ("true", "false"):
        bad = unknown("value", raw, ("signals",))
        bad.hint = bad.hint or 'one of true, "signals", false'
        raise bad
    raise expected('true, "signals" or false', raw)


def _path_list(raw: object, _key: Key) -> list[object]:
    return [paths.parse(string(raw))]


def _single_path(raw: object, _key: Key) -> list[object]:
    return [paths.parse_single(string(raw))]


def _endpoint(raw: object, key: Key) -> list[object]:
    if isinstance(raw, int) and not isinstance(raw, bool):
        raise expected("a string", raw, f'one TCP port is "tcp:{raw}"')
    return [endpoints.parse(string(raw), bind=key.path == "network.bind")]


def _unix(raw: object, _key: Key) -> list[object]:
    text = string(raw)
    if text == "*":
        raise Bad('"*" would be the sockets in the working directory', 'every unix socket is "@all"')
    if text.startswith("@") and text != ALL:
        raise Bad(f"unknown socket group {quoted(text)}", 'an abstract socket is "abstract:NAME"')
    if text.startswith("abstract:"):
        if text == "abstract:":
            raise Bad("an abstract socket needs a name", "write abstract:NAME")
        return [text]
    return [paths.parse(text)]


def _cidr(raw: object, _key: Key) -> list[object]:
    text = string(raw)
    return ["0.0.0.0/0", "::/0"] if text == ALL else [endpoints.parse_network(text)]


def _family(raw: object, _key: Key) -> list[object]:
    from sandrun.policy.families import FAMILIES  # noqa: PLC0415 (few profiles name families)

    text = string(raw)
    name = text.lower().removeprefix("af_")
    if text != ALL and name not in FAMILIES:
        raise unknown("address family", text, FAMILIES)
    return [name]


def _syscall(raw: object, _key: Key) -> list[object]:
    if isinstance(raw, int) and not isinstance(raw, bool):
        return [syscall(str(raw))]
    return [syscall(string(raw))]


def _promise(raw: object, _key: Key) -> list[object]:
    from sandrun.policy import promises  # noqa: PLC0415 (only profiles that use promises)

    text = string(raw)
    if text == ALL:
        return list(promises.PROMISES)
    if text not in promises.PROMISES:
        raise unknown("promise", text, promises.PROMISES)
    return [text]


def _capability(raw: object, _key: Key) -> list[object]:
    from sandrun.primitives import caps  # noqa: PLC0415 (few profiles keep capabilities)

    text = string(raw)
    if text == ALL:
        return [ALL]
    name = "CAP_" + text.upper().removeprefix("CAP_")
    try:
        caps.mask((name,))
    except ValueError:
        raise unknown("capability", name if len(name) < len(text) + 5 else text, caps.NAMES) from None
    return [name]


def _securebit(raw: object, _key: Key) -> list[object]:
    from sandrun.primitives import caps  # noqa: PLC0415 (few profiles set securebits)

    text = string(raw)
    if text == ALL:
        return list(caps.SECUREBITS)
    name = text.lower().removeprefix("secbit_")
    if name not in caps.SECUREBITS:
        raise unknown("securebit", text, caps.SECUREBITS, list_them=True)
    return [name]


def _namespace(raw: object, _key: Key) -> list[object]:
    text = string(raw)
    if text == ALL:
        return list(NAMESPACES)
    if text not in NAMESPACES:
        raise unknown("namespace", text, NAMESPACES, list_them=True)
    return [text]


def _account(raw: object, _key: Key) -> list[object]:
    if isinstance(raw, int) and not isinstance(raw, bool):
        return [integer(raw, 0, LAST_ID)]
    text = string(raw)
    if text.lstrip("-").isdecimal():
        return [integer(number(text), 0, LAST_ID)]
    if not text.isprintable() or text[0] in "@-" or set(text) & set(": /"):
        raise Bad(f"not a name of a user or group: {quoted(text)}")
    return [text]


def _environment_name(raw: object, _key: Key) -> list[object]:
    text = string(raw)
    if text[0] == "@" and text not in ENVIRONMENT_GROUPS:
        raise unknown("group of variables", text, ENVIRONMENT_GROUPS, list_them=True)
    name, assigned, _ = text.partition("=")
    if assigned:
        raise Bad(f"the name of a variable cannot contain =: {quoted(name)}…", "values belong in environment.set")
    return [text]


def variable(name: str, raw: object) -> Hidden:
    """A variable to set. Raises Bad; the value is in no message."""
    if not name or "=" in name or "\0" in name:
        raise Bad("not the name of a variable")
    if not isinstance(raw, str):
        raise expected("a string", raw, None if isinstance(raw, list | dict) else "put the value in quotes")
    if "\0" in raw:
        raise Bad("the value contains a NUL byte")
    return Hidden(raw)


def _octal(raw: object, _key: Key) -> list[object]:
    if isinstance(raw, int) and not isinstance(raw, bool):
        raise expected("a string of octal digits", raw, 'write it in quotes: "022"')
    text = string(raw, "a string of octal digits")
    if not set(text) <= set("01234567") or len(text) > 4 or int(text, 8) > 0o777:
        raise Bad(f"not an octal mask: {quoted(text)}", "write 000 to 777")
    return [int(text, 8)]


def _nice(raw: object, _key: Key) -> list[object]:
    return [integer(raw, -20, 19)]


def _count(raw: object, _key: Key) -> list[object]:
    return [integer(raw, 1, MOST)]


def _fd(raw: object, _key: Key) -> list[object]:
    return [integer(raw, 0, 2**31 - 1)]


def _size(raw: object, _key: Key) -> list[object]:
    return [size(raw, first=1)]


def _duration(raw: object, key: Key) -> list[object]:
    value = seconds(raw)
    if not value and key.path == "time.timeout":
        raise Bad("a timeout of nothing would end every command", "leave it out for no timeout")
    return [value]


def _brokered(raw: object, key: Key) -> list[object]:
    from sandrun.profile import brokers  # noqa: PLC0415 (few profiles have inputs and outputs)

    return [brokers.read(raw, key.kind)]


def _percent(raw: object, _key: Key) -> list[object]:
    if isinstance(raw, int) and not isinstance(raw, bool):
        raise expected("a string", raw, f'write "{short(raw)}%"')
    text = string(raw)
    if not text.endswith("%"):
        raise Bad(f"not a percentage: {quoted(text)}", "100% is one processor")
    return [integer(number(text[:-1]), 1, 10**6)]


READERS: dict[str, Reader] = {
    "paths": _path_list,
    "path": _single_path,
    "rules": lambda raw, _key: [rules.access_rule(raw)],
    "enum": _enum,
    "string": _string,
    "bool": _bool,
    "isolate": _isolate,
    "endpoints": _endpoint,
    "unix": _unix,
    "cidrs": _cidr,
    "families": _family,
    "syscalls": _syscall,
    "syscall-rules": lambda raw, _key: [rules.syscall_rule(raw)],
    "promises": _promise,
    "capabilities": _capability,
    "securebits": _securebit,
    "namespaces": _namespace,
    "user": _account,
    "group": _account,
    "groups": _account,
    "env-names": _environment_name,
    "octal": _octal,
    "nice": _nice,
    "count": _count,
    "fds": _fd,
    "size": _size,
    "duration": _duration,
    "percent": _percent,
    "broker-input": _brokered,
    "broker-output": _brokered,
}
"""By `Key.kind`. The two tables of names have readers of their own: `variable` and `units.limit`."""


def from_text(text: str, key: Key) -> object:
    """What a flag's text would be in TOML. Raises Bad."""
    if key.kind in ("bool", "isolate"):
        return {"true": True, "false": False}.get(text, text)
    if key.kind == "rules":
        return rules.rule_text(text, key.metavar)
    if key.kind == "syscall-rules":
        return rules.syscall_rule_text(text, key.metavar)
    if key.kind in ("nice", "count", "fds"):
        return number(text)
    if key.kind in ("broker-input", "broker-output"):
        from sandrun.profile import brokers  # noqa: PLC0415 (as above)

        return brokers.from_text(text, key.metavar)
    return text
