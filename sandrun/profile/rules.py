"""Readers of the two arrays of tables: `filesystem.rules` and `syscalls.rules`."""

from __future__ import annotations

import errno

from sandrun.profile import paths
from sandrun.profile.bad import Bad, expected, quoted, unknown
from sandrun.profile.model import AccessRule, SyscallRule
from sandrun.profile.units import integer, number, string

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ALL = "@all"
OPERATORS = ("eq", "ne", "lt", "le", "gt", "ge", "masked_eq")
ACTIONS = ("allow", "errno", "kill-process", "log")


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


def fields_of(
    raw: object, readers: Mapping[str, Callable[[object], object]], optional: tuple[str, ...]
) -> dict[str, object]:
    """The fields of a table in an array of rules, read. Raises Bad with everything that is wrong in it."""
    if not isinstance(raw, dict):
        raise expected(f"a table with {', '.join(readers)}", raw)
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
        bad.append(
            Bad(f"{', '.join(missing)} is missing" if len(missing) == 1 else f"{', '.join(missing)} are missing")
        )
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


def access_rule(raw: object) -> AccessRule:
    """A table of `filesystem.rules`. Raises Bad."""
    readers = {"path": lambda path: paths.parse(string(path)), "access": _rights, "at": _place}
    fields = fields_of(raw, readers, ("at",))
    return AccessRule(fields["path"], fields["access"], fields.get("at", ""))  # type: ignore[arg-type]


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


def syscall_rule(raw: object) -> SyscallRule:
    """A table of `syscalls.rules`. Raises Bad."""
    readers: dict[str, Callable[[object], object]] = {
        "syscall": lambda name: syscall(str(name) if type(name) is int else string(name), sets=False),
        "arg": lambda number: integer(number, 0, 5),
        "op": _operator,
        "value": _word,
        "action": _action,
        "mask": _word,
    }
    fields = fields_of(raw, readers, ("mask",))
    if ("mask" in fields) != (fields["op"] == "masked_eq"):
        raise Bad("mask goes with masked_eq, and masked_eq with mask")
    if fields["op"] == "masked_eq" and int(fields["value"]) & ~int(fields["mask"]):  # type: ignore[call-overload]
        raise Bad("the value has bits outside the mask, so it never matches")
    return SyscallRule(**fields)  # type: ignore[arg-type]


def rule_text(text: str, metavar: str) -> dict[str, object]:
    """What `PATH=RIGHT+RIGHT` would be in TOML. Raises Bad."""
    path, equals, access = text.rpartition("=")
    if not equals:
        raise Bad(f"not a rule: {quoted(text)}", f"write {metavar}")
    return {"path": path, "access": access.split("+")}


def syscall_rule_text(text: str, metavar: str) -> dict[str, object]:
    """What `NAME:ARG:OP:VALUE:ACTION` would be in TOML; for masked_eq VALUE is `VALUE/MASK`. Raises Bad."""
    parts = text.split(":", 4)
    if len(parts) != 5:
        raise Bad(f"not a rule: {quoted(text)}", f"write {metavar}")
    name, arg, operator, value, action = parts
    rule: dict[str, object] = {"syscall": name, "arg": number(arg), "op": operator, "action": action}
    value, slash, mask = value.partition("/")
    return rule | ({"value": value, "mask": mask} if slash else {"value": value})
