"""One reader for each key of a group file: a TOML value → what it means. Each raises Bad."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sandrun import libc
from sandrun.group.model import Ready
from sandrun.profile.bad import Bad, expected, quoted, unknown
from sandrun.profile.units import integer, number, seconds, string

if TYPE_CHECKING:
    from collections.abc import Callable

LAST_FD = 90
"""The last descriptor of a command that a link may take; those of sandrun itself stand behind it."""
LAST_PORT = 65535
STREAMS = ("stdin", "stdout", "stderr")
INPUTS, OUTPUTS = ("null", "inherit"), ("log", "inherit", "null")
RESTARTS = ("never", "on-failure")
SIGNALS = {"TERM": libc.SIGTERM, "INT": libc.SIGINT, "HUP": libc.SIGHUP, "QUIT": libc.SIGQUIT, "KILL": libc.SIGKILL}
SIGNALS |= {"USR1": libc.SIGUSR1, "USR2": libc.SIGUSR2}
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}", re.ASCII)


def name(raw: object) -> str:
    """A name of a command or a link."""
    text = string(raw)
    if not _NAME.fullmatch(text):
        raise Bad(f"not a name: {quoted(text)}", "write a letter, then at most 31 letters, digits, - and _")
    return text


def strings(raw: object) -> tuple[str, ...]:
    """An array of strings."""
    if not isinstance(raw, list):
        raise expected("an array", raw, f"write [{quoted(raw)}]" if isinstance(raw, str) else None)
    return tuple(string(item) for item in raw)


def argv(raw: object) -> tuple[str, ...]:
    """The words of a command."""
    if not isinstance(raw, list):
        raise expected("an array", raw, 'a shell is started as ["sh", "-c", "..."]' if isinstance(raw, str) else None)
    if not raw:
        raise Bad("a command has at least one word")
    # Only the first word names something; others may be empty.
    return (string(raw[0]), *(item if item == "" else string(item) for item in raw[1:]))


def profiles(raw: object) -> tuple[str, ...]:
    """One profile, or several on top of each other."""
    return (string(raw),) if isinstance(raw, str) else strings(raw)


def boolean(raw: object) -> bool:
    """true or false."""
    if not isinstance(raw, bool):
        raise expected(
            "a boolean", raw, f"write {raw}, without quotes" if raw in ("true", "false") else "true or false"
        )
    return raw


def one_of(choices: tuple[str, ...]) -> Callable[[object], str]:
    """A reader of one of these words."""

    def read(raw: object) -> str:
        if not isinstance(raw, str):
            raise expected("a string", raw, f"one of {', '.join(choices)}")
        if raw not in choices:
            raise unknown("value", raw, choices, list_them=True)
        return raw

    return read


def duration(raw: object) -> float:
    """Seconds."""
    return float(seconds(raw))


def count(raw: object) -> int:
    """How often something is done."""
    return integer(raw, 1, 1000)


def signal(raw: object) -> int:
    """The number of a signal that the supervisor of a command passes on."""
    text = string(raw).upper().removeprefix("SIG")
    if text not in SIGNALS:
        raise unknown("signal", string(raw), SIGNALS, list_them=True)
    return SIGNALS[text]


def ready(raw: object) -> Ready:
    """`fd`, `exit`, `tcp:PORT` or `file:PATH`."""
    text = string(raw)
    kind, _, rest = text.partition(":")
    if text in ("fd", "exit"):
        return Ready(text)
    if kind == "tcp" and rest:
        return Ready("tcp", number=integer(number(rest), 1, LAST_PORT))
    if kind == "file" and rest:
        return Ready("file", path=rest)
    hint = 'one of "fd", "exit", "tcp:PORT", "file:PATH"'
    raise Bad(f"not a sign that a command is ready: {quoted(text)}", hint)


def end(raw: object) -> tuple[str, int]:
    """COMMAND, COMMAND:STREAM or COMMAND:NUMBER; the number is -1 where none is given."""
    text = string(raw)
    command, colon, which = text.partition(":")
    if not colon:
        return name(text), -1
    if which in STREAMS:
        return name(command), STREAMS.index(which)
    if not which.isdecimal():
        raise unknown("descriptor", which, (*STREAMS, "3"), list_them=True)
    return name(command), integer(number(which), 0, LAST_FD)
