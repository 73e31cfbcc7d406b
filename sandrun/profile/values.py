"""One reader for each `kind` of key: a TOML value → typed values. A flag's text is first made into that TOML value.

A reader returns a list, since `@all` may stand for several names. It raises Bad with every problem of its value. Values
of environment variables never enter a message.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from sandrun.profile import endpoints, paths
from sandrun.profile.bad import Bad, expected, quoted, suggest, unknown
from sandrun.profile.model import AccessRule, Hidden, Limit, SyscallRule
from sandrun.profile.names import ENVIRONMENT_GROUPS, NAMESPACES, RLIMITS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from sandrun.profile.keys import Key

    Reader = Callable[[object, Key], list[object]]

ALL = "@all"
SIZE_UNITS = {"K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
TIME_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
MOST = 2**63 - 1
"""The largest number of bytes or seconds: what the kernel keeps in a signed 64-bit integer."""
MOST_SECONDS = 10 * 365 * 86400
LAST_ID = 2**32 - 2
"""The largest uid or gid; 2**32 - 1 means "leave as it is" to setresuid(2)."""
HOST_NAME_MAX = 64
OPERATORS = ("eq", "ne", "lt", "le", "gt", "ge", "masked_eq")
ACTIONS = ("allow", "errno", "kill-process", "log")


def string(raw: object, what: str = "a string") -> str:
    """A non-empty string without NUL. Raises Bad."""
    if not isinstance(raw, str):
        raise expected(what, raw)
    if "\0" in raw:
        raise Bad("a string cannot contain a NUL byte")
    if not raw:
        raise Bad("a string cannot be empty")
    return raw


def integer(raw: object, first: int, last: int) -> int:
    """An integer in a range, also as text of decimal digits. Raises Bad; a boolean is none."""
    if isinstance(raw, str):
        digits = raw.removeprefix("-")
        if not (digits.isascii() and digits.isdecimal()) or len(raw) > 40:
            raise Bad(f"not a number: {quoted(raw)}")
        raw = int(raw)
    if not isinstance(raw, int) or isinstance(raw, bool):
        raise expected("an integer", raw)
    if not first <= raw <= last:
        raise Bad(f"out of range: {_short(raw)} is not within {first} to {last}")
    return raw


def _short(number: int) -> str:
    """A number that somebody wrote; the digits of a very long one help nobody."""
    return str(number) if abs(number) < 10**40 else "a number of more than 40 digits"


def _words(choices: Iterable[str]) -> str:
    return ", ".join(choices)


def _string(raw: object, key: Key) -> list[object]:
    text = string(raw)
    if not text.isprintable():
        raise Bad("control characters have no place here")
    if key.path == "process.hostname" and len(text.encode("utf-8", "surrogateescape")) > HOST_NAME_MAX:
        raise Bad(f"a host name has at most {HOST_NAME_MAX} bytes")
    return [text]


def _enum(raw: object, key: Key) -> list[object]:
    choice = f"one of {_words(key.choices)}"
    if not isinstance(raw, str):
        raise expected("a string", raw, choice)
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
        raise unknown("value", raw, ("true", '"signals"', "false"), list_them=True)
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


def syscall(text: str, *, sets: bool = True) -> str:
    """A syscall by name or number, or a set. Raises Bad."""
    from sandrun.policy import syscalls  # noqa: PLC0415 (its tables are large, and not every profile names syscalls)

    if sets and text == ALL:
        return syscalls.KNOWN_SET
    if not sets and text.startswith("@"):
        raise Bad(f"one syscall is wanted, not a set: {quoted(text)}")
    complaint = syscalls.complaint(text)
    if complaint is not None:
        raise Bad(*complaint)
    return str(int(text)) if text.isdecimal() else text


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
        return [integer(text, 0, LAST_ID)]
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


def size(raw: object, first: int = 0) -> int:
    """Bytes: an integer, or text with a unit. Raises Bad."""
    if not isinstance(raw, str) or string(raw)[-1].isdecimal():
        return integer(raw, first, MOST)
    digits, unit = raw[:-1], raw[-1]
    if unit not in SIZE_UNITS or not (digits.isascii() and digits.isdecimal()) or len(digits) > 20:
        letter = next((char for char in raw.upper() if char in SIZE_UNITS), "")
        number = raw[: next((i for i, char in enumerate(raw) if not char.isdecimal()), 0)]
        like = f"did you mean {quoted(number + letter)}?" if letter and number and "." not in raw else None
        raise Bad(f"not a size: {quoted(raw)}", like or "an integer with K, M, G or T (1024 each), or bytes")
    return integer(int(digits) * SIZE_UNITS[unit], first, MOST)


def _duration(raw: object, key: Key) -> list[object]:
    value = seconds(raw)
    if not value and key.path == "time.timeout":
        raise Bad("a timeout of nothing would end every command", "leave it out for no timeout")
    return [value]


def seconds(raw: object) -> int | float:
    """Seconds: a number, or text with a unit. Raises Bad."""
    number: int | float
    if isinstance(raw, str):
        digits = raw.rstrip("msdh")
        factor = TIME_UNITS.get(raw[len(digits) :] or "s")
        whole, _, fraction = digits.partition(".")
        plain = digits.isascii() and whole.isdecimal() and (fraction.isdecimal() or "." not in digits)
        if factor is None or not plain or len(digits) > 20:
            negative = digits.startswith("-") and factor is not None
            hint = "a number with ms, s, m, h or d, or seconds"
            raise Bad("a time cannot be negative" if negative else f"not a time: {quoted(raw)}", hint)
        number = (float(digits) if "." in digits else int(digits)) * factor
    elif isinstance(raw, int | float) and not isinstance(raw, bool):
        number = raw
    else:
        raise expected("a number of seconds or a string such as 10s", raw)
    if not 0 <= number <= MOST_SECONDS:
        raise Bad("a time cannot be negative" if number < 0 else "out of range: more than ten years")
    number = round(number, 3)
    return int(number) if number == int(number) else number


def _percent(raw: object, _key: Key) -> list[object]:
    if isinstance(raw, int) and not isinstance(raw, bool):
        raise expected("a string", raw, f'write "{_short(raw)}%"')
    text = string(raw)
    if not text.endswith("%"):
        raise Bad(f"not a percentage: {quoted(text)}", "100% is one processor")
    return [integer(text[:-1], 1, 10**6)]


def limit(name: str, raw: object) -> Limit:
    """An entry of `rlimits`: SOFT or "SOFT:HARD". Raises Bad."""
    if name not in RLIMITS:
        hint = suggest(name.lower().removeprefix("rlimit_"), RLIMITS)
        raise Bad(f"unknown limit {quoted(name)}", hint or f"one of {_words(RLIMITS)}")
    if not isinstance(raw, str):
        return Limit(_one_limit(name, raw), None)
    soft_text, colon, hard_text = string(raw).partition(":")
    soft = _one_limit(name, soft_text)
    if not colon:
        return Limit(soft, None)
    hard = _one_limit(name, hard_text)
    if hard is not None and (soft is None or soft > hard):
        raise Bad("the soft limit is above the hard limit", "write SOFT:HARD")
    return Limit(soft, hard, has_hard=True)


def _one_limit(name: str, raw: object) -> int | None:
    if raw == "unlimited":
        return None
    if raw in ("infinity", "inf", -1, "-1"):
        raise Bad(f"not a limit: {raw}", 'no limit is "unlimited"')
    counted = RLIMITS[name]
    if counted == "bytes":
        return size(raw)
    if counted == "number":
        return integer(raw, 0, MOST)
    time = seconds(raw)
    if counted == "microseconds":
        return round(time * 1_000_000)
    if time != int(time):
        raise Bad("processor time is limited in whole seconds")
    return int(time)


def _fields(
    raw: object, readers: Mapping[str, Callable[[object], object]], optional: tuple[str, ...]
) -> dict[str, object]:
    """The fields of a table in an array of rules, read. Raises Bad with everything that is wrong in it."""
    if not isinstance(raw, dict):
        raise expected(f"a table with {_words(readers)}", raw)
    bad: list[Bad] = []
    fields: dict[str, object] = {}
    for name, value in raw.items():
        try:
            if name not in readers:
                raise unknown("key", name, readers, list_them=True)
            fields[name] = readers[name](value)
        except Bad as error:
            for one in error.all():
                one.at = f".{name if name in readers else quoted(name)}{one.at}"
                bad.append(one)
    missing = [name for name in readers if name not in raw and name not in optional]
    if missing:
        bad.append(Bad(f"{_words(missing)} is missing" if len(missing) == 1 else f"{_words(missing)} are missing"))
    if bad:
        bad[0].others = tuple(bad[1:])
        raise bad[0]
    return fields


def _rights(raw: object) -> tuple[str, ...]:
    from sandrun.primitives.landlock import FS  # noqa: PLC0415 (only profiles with rules)

    if not isinstance(raw, list):
        raise expected("an array of access rights", raw)
    if not raw:
        raise Bad("a rule without access rights grants nothing", "remove it, or name a right")
    names: list[str] = []
    bad: list[Bad] = []
    for index, item in enumerate(raw):
        try:
            name = string(item)
            if name != ALL and name not in FS:
                raise unknown("access right", name, FS)
        except Bad as error:
            error.at = f"[{index}]"
            bad.append(error)
        else:
            names += FS if name == ALL else [name]
    if bad:
        bad[0].others = tuple(bad[1:])
        raise bad[0]
    return tuple(dict.fromkeys(names))


def _place(raw: object) -> str:
    text = string(raw)
    if not text.startswith("/"):
        raise Bad(f"not an absolute path: {quoted(text)}")
    return text


def _rule(raw: object, _key: Key) -> list[object]:
    readers = {"path": lambda path: paths.parse(string(path)), "access": _rights, "at": _place}
    fields = _fields(raw, readers, ("at",))
    return [AccessRule(fields["path"], fields["access"], fields.get("at", ""))]  # type: ignore[arg-type]


def _word(raw: object) -> int:
    """A syscall argument as the kernel's 64-bit word: an integer, or text such as 0x5412."""
    if isinstance(raw, str):
        try:
            raw = int(raw, 0) if len(raw) <= 40 else None
        except ValueError:
            raw = None
        if raw is None:
            raise Bad("not a number", "write it in decimal, or as 0x…")
    return integer(raw, -(2**63), 2**64 - 1) % 2**64


def _action(raw: object) -> str:
    text = string(raw)
    head, colon, name = text.partition(":")
    if head == "errno" and colon:
        if name not in errno.errorcode.values():
            raise unknown("error number", name, errno.errorcode.values())
    elif text not in ACTIONS:
        raise unknown("action", text, (*ACTIONS, "errno:NAME"), list_them=True)
    return text


def _operator(raw: object) -> str:
    text = string(raw)
    if text not in OPERATORS:
        raise unknown("operator", text, OPERATORS, list_them=True)
    return text


def _syscall_rule(raw: object, _key: Key) -> list[object]:
    readers: dict[str, Callable[[object], object]] = {
        "syscall": lambda name: syscall(str(name) if type(name) is int else string(name), sets=False),
        "arg": lambda number: integer(number, 0, 5),
        "op": _operator,
        "value": _word,
        "action": _action,
        "mask": _word,
    }
    fields = _fields(raw, readers, ("mask",))
    if ("mask" in fields) != (fields["op"] == "masked_eq"):
        raise Bad("mask goes with masked_eq, and masked_eq with mask")
    if fields["op"] == "masked_eq" and int(fields["value"]) & ~int(fields["mask"]):  # type: ignore[call-overload]
        raise Bad("the value has bits outside the mask, so it never matches")
    return [SyscallRule(**fields)]  # type: ignore[arg-type]


READERS: dict[str, Reader] = {
    "paths": _path_list,
    "path": _single_path,
    "rules": _rule,
    "enum": _enum,
    "string": _string,
    "bool": _bool,
    "isolate": _isolate,
    "endpoints": _endpoint,
    "unix": _unix,
    "cidrs": _cidr,
    "families": _family,
    "syscalls": _syscall,
    "syscall-rules": _syscall_rule,
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
}
"""By `Key.kind`. The two tables of names have readers of their own: `variable` and `limit`."""


def from_text(text: str, key: Key) -> object:
    """What a flag's text would be in TOML. Raises Bad."""
    if key.kind in ("bool", "isolate"):
        return {"true": True, "false": False}.get(text, text)
    if key.kind == "rules":
        path, equals, access = text.rpartition("=")
        if not equals:
            raise Bad(f"not a rule: {quoted(text)}", f"write {key.metavar}")
        return {"path": path, "access": access.split("+")}
    if key.kind == "syscall-rules":
        parts = text.split(":", 4)
        if len(parts) != 5:
            raise Bad(f"not a rule: {quoted(text)}", f"write {key.metavar}")
        rule = dict(zip(("syscall", "arg", "op", "value", "action"), parts, strict=True))
        value, slash, mask = rule["value"].partition("/")
        return rule | {"value": value, "mask": mask} if slash else rule
    return text
