"""What a syscall entry of a profile means: names, raw numbers and @sets, on an architecture.

Pure functions over the tables of `_syscalls`. A name of another architecture is no error (profiles are shared between
machines); a name of none is.
"""

from __future__ import annotations

from sandrun.named import NamedTuple
from sandrun.policy._syscalls import FOREIGN, NUMBERS, SETS, WIDTHS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

ARCHES: tuple[str, ...] = tuple(NUMBERS)
KNOWN_SET = "@known"
LAST_NUMBER = 0x3FFFFFFF
"""The highest raw number: above it the kernel's number space is x32's on x86_64, and nothing elsewhere."""

EITHER = 0
"""The width of an argument of which it is not known how many bits the kernel reads."""
_WIDTHS = {"s": 16, "i": 32, "l": 64, "?": EITHER}

_ALIASES = {
    arch: {
        # The names of the C library's functions, where the kernel's own differ.
        alias: name
        for alias, name in (("fstatat", "newfstatat"), ("fstatat64", "newfstatat"), ("umount", "umount2"))
        if alias not in table and name in table
    }
    for arch, table in NUMBERS.items()
}


class Meaning(NamedTuple):
    """The syscalls that an entry stands for here, and the names in it that belong to another architecture."""

    numbers: tuple[int, ...]
    foreign: tuple[str, ...] = ()


def is_set(text: str) -> bool:
    """Whether the entry is an @set."""
    return text.startswith("@")


def complaint(text: str) -> tuple[str, str | None] | None:
    """What is wrong with an entry on every architecture: the message and a hint, or None if it can be understood."""
    if is_set(text):
        if text == KNOWN_SET or text in SETS:
            return None
        return f"unknown syscall set {text!r}", _suggestion(text, [*SETS, KNOWN_SET])
    if text.isascii() and text.isdigit():
        if int(text) <= LAST_NUMBER:
            return None
        return f"syscall number {text} is out of range", f"raw numbers go from 0 to {LAST_NUMBER}"
    if text in FOREIGN or any(text in NUMBERS[arch] or text in _ALIASES[arch] for arch in ARCHES):
        return None
    return f"unknown syscall {text!r}", _suggestion(text, {name for table in NUMBERS.values() for name in table})


def meaning(text: str, arch: str) -> Meaning:
    """The numbers of a name, a raw number or an @set (nested sets included) on this architecture.

    Raises KeyError for an entry that has a `complaint`.
    """
    table = NUMBERS[arch]
    if text == KNOWN_SET:
        return Meaning(tuple(table.values()))
    if is_set(text):
        return Meaning(tuple(table[name] for name in _members(text) if name in table))
    if text.isascii() and text.isdigit() and int(text) <= LAST_NUMBER:
        return Meaning((int(text),))
    name = _ALIASES[arch].get(text, text)
    if name in table:
        return Meaning((table[name],))
    if complaint(text) is None:
        return Meaning((), (text,))
    raise KeyError(text)


def number(name: str, arch: str) -> int | None:
    """The number of one syscall by name or raw number; None if this architecture does not have it."""
    numbers = meaning(name, arch).numbers
    return numbers[0] if numbers else None


def numbers(arch: str) -> dict[str, int]:
    """Every syscall of this architecture that sandrun knows of."""
    return dict(NUMBERS[arch])


def name_of(number: int, arch: str) -> str:
    """The name of a number, or the number as text."""
    return next((name for name, value in NUMBERS[arch].items() if value == number), str(number))


def argument_count(name: str) -> int:
    """How many arguments the syscall takes; 6 if that is not known."""
    return len(WIDTHS.get(name, "llllll"))


def argument_width(name: str, index: int) -> int:
    """How many low bits of an argument the kernel reads: 16, 32 or 64, or EITHER if that is not known.

    A register has 64 bits, but a parameter declared `int` is cut to 32 of them: a filter that compares all 64 is
    passed by `value | 1 << 32`. EITHER also stands for bit sets declared `unsigned long` of which the kernel ignores
    what it does not know: a test of those has to hold for the low half and for the whole.
    """
    letters = WIDTHS.get(name, "")
    return _WIDTHS[letters[index]] if index < len(letters) else EITHER


def _members(group: str) -> tuple[str, ...]:
    names: dict[str, None] = {}
    for member in SETS[group]:
        names.update(dict.fromkeys(_members(member) if is_set(member) else (member,)))
    return tuple(names)


def _suggestion(text: str, names: Iterable[str]) -> str | None:
    import difflib  # noqa: PLC0415 (only for an error)

    close = difflib.get_close_matches(text, list(names), n=1)
    return f"did you mean {close[0]}?" if close else None
