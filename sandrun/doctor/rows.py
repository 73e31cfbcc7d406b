"""Row: one line of what the doctor says, about a mechanism or a protection."""

from __future__ import annotations

from typing import NamedTuple

OK, PARTIAL, NO = "ok", "partial", "no"


class Row(NamedTuple):
    """What, how far, by what (for a mechanism: what was found); why no further, and what could be done.

    `key` is the key path that asks for a protection, "" for a mechanism.
    """

    name: str
    state: str
    key: str = ""
    by: tuple[str, ...] = ()
    why: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
