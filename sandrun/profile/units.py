"""Readers of plain values: strings, numbers, sizes, times, resource limits. Units stand in the value."""

from __future__ import annotations

from sandrun.profile.bad import Bad, expected, quoted, suggest
from sandrun.profile.model import Limit
from sandrun.profile.names import RLIMITS

SIZE_UNITS = {"K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
TIME_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
MOST = 2**63 - 1
"""The largest number of bytes or seconds: what the kernel keeps in a signed 64-bit integer."""
MOST_SECONDS = 10 * 365 * 86400


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
    """An integer in a range. Raises Bad; a boolean is none."""
    if not isinstance(raw, int) or isinstance(raw, bool):
        raise expected("an integer", raw)
    if not first <= raw <= last:
        raise Bad(f"out of range: {short(raw)} is not within {first} to {last}")
    return raw


def number(text: str) -> int:
    """The number that decimal digits spell. Raises Bad."""
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal()) or len(text) > 40:
        raise Bad(f"not a number: {quoted(text)}")
    return int(text)


def short(value: int) -> str:
    """A number that somebody wrote; the digits of a very long one help nobody."""
    return str(value) if abs(value) < 10**40 else "a number of more than 40 digits"


def size(raw: object, first: int = 0) -> int:
    """Bytes: an integer, or text with a unit. Raises Bad."""
    if not isinstance(raw, str):
        return integer(raw, first, MOST)
    if string(raw)[-1].isdecimal():
        return integer(number(raw), first, MOST)
    digits, unit = raw[:-1], raw[-1]
    if unit not in SIZE_UNITS or not (digits.isascii() and digits.isdecimal()) or len(digits) > 20:
        letter = next((char for char in raw.upper() if char in SIZE_UNITS), "")
        start = raw[: next((i for i, char in enumerate(raw) if not char.isdecimal()), 0)]
        like = f"did you mean {quoted(start + letter)}?" if letter and start and "." not in raw else None
        raise Bad(f"not a size: {quoted(raw)}", like or "an integer with K, M, G or T (1024 each), or bytes")
    return integer(int(digits) * SIZE_UNITS[unit], first, MOST)


def seconds(raw: object) -> int | float:
    """Seconds: a number, or text with a unit. Raises Bad."""
    amount: int | float
    if isinstance(raw, str):
        digits = raw.rstrip("msdh")
        factor = TIME_UNITS.get(raw[len(digits) :] or "s")
        whole, _, fraction = digits.partition(".")
        plain = digits.isascii() and whole.isdecimal() and (fraction.isdecimal() or "." not in digits)
        if factor is None or not plain or len(digits) > 20:
            negative = digits.startswith("-") and factor is not None
            hint = "a number with ms, s, m, h or d, or seconds"
            raise Bad("a time cannot be negative" if negative else f"not a time: {quoted(raw)}", hint)
        amount = (float(digits) if "." in digits else int(digits)) * factor
    elif isinstance(raw, int | float) and not isinstance(raw, bool):
        amount = raw
    else:
        raise expected("a number of seconds or a string such as 10s", raw)
    if not 0 <= amount <= MOST_SECONDS:
        raise Bad("a time cannot be negative" if amount < 0 else "out of range: more than ten years")
    amount = round(amount, 3)
    return int(amount) if amount == int(amount) else amount


def limit(name: str, raw: object) -> Limit:
    """An entry of `rlimits`: SOFT or "SOFT:HARD". Raises Bad."""
    if name not in RLIMITS:
        hint = suggest(name.lower().removeprefix("rlimit_"), RLIMITS)
        raise Bad(f"unknown limit {quoted(name)}", hint or f"one of {', '.join(RLIMITS)}")
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
        return integer(number(raw) if isinstance(raw, str) else raw, 0, MOST)
    time = seconds(raw)
    if counted == "microseconds":
        return round(time * 1_000_000)
    if time != int(time):
        raise Bad("processor time is limited in whole seconds")
    return int(time)
