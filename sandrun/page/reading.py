"""A record as it was read from a file: anybody may have made it, so each member is taken for what it is, or for nothing."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_BYTES = 64 << 20
LONGEST = 512
"""Characters of one text that are shown: both ends of a longer one."""
MOST_WORDS = 100
_LARGEST = 2**63


def parse(data: bytes) -> Mapping[str, Any]:
    """What `--report`, `--dry-run --json`, or the last line of `--explain --json` or `trace --json` has, as a record.

    Raises ValueError with the reason.
    """
    if len(data) > MOST_BYTES:
        raise ValueError(f"larger than {MOST_BYTES >> 20} MiB")
    try:
        document: Any = json.loads(data)
    except RecursionError:
        raise ValueError("not JSON that can be read: too deep") from None
    except ValueError:
        raise ValueError("not JSON") from None
    if not isinstance(document, dict) or document.get("sandrun") != 1:
        raise ValueError("not a document of sandrun")
    if "outcome" in document:
        return document
    if "findings" in document:
        return {"explained": document}
    if "syscalls" in document and "total" in document:
        return {"trace": document}
    if "filesystem" in document and "protections" in document:
        command = words(member(document, "command", "argv"))
        return {**document, "plan": document, "command": command, "outcome": None}
    raise ValueError("not a record of a run, an explanation, a trace or a dry run")


def member(value: object, *names: str) -> Any:
    """What these names lead to; None if something on the way is missing."""
    for name in names:
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def shorten(text: str, longest: int = LONGEST) -> str:
    """Both ends of a text that is too long."""
    return text if len(text) <= longest else f"{text[: longest // 2]} [...] {text[-longest // 4 :]}"


def text(value: object) -> str:
    """A string or number as text; "" for anything else."""
    if isinstance(value, str):
        return shorten(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    found = number(value)
    if found is None:
        return ""
    return str(int(found)) if found == int(found) else f"{found:.6g}"


def number(value: object) -> float | None:
    """A number that can be counted with; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if -_LARGEST < value < _LARGEST else None


def count(value: object) -> int:
    """A number of things; 0 for anything else."""
    return max(0, int(number(value) or 0))


def seconds(value: object) -> tuple[float, ...]:
    """A time after the start, as a tuple of one; () for anything else."""
    found = number(value)
    return (float(found),) if found is not None and found >= 0 else ()


def words(value: object, most: int = MOST_WORDS) -> list[str]:
    """The texts of a list, and how many more there are as the last one."""
    if not isinstance(value, list):
        return []
    found = [text(item) for item in value[:most]]
    return [*found, f"and {len(value) - most} more"] if len(value) > most else found


def rows(value: object) -> list[Mapping[str, Any]]:
    """The objects of a list."""
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def amount(value: object) -> str:
    """Bytes for people."""
    size = number(value)
    if size is None:
        return ""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if abs(size) < 1024:
            return f"{size:.0f} {unit}" if unit == "bytes" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def duration(value: object) -> str:
    """Seconds for people."""
    found = number(value)
    if found is None:
        return ""
    return f"{found:.3f} s" if found < 10 else f"{found:.1f} s"
