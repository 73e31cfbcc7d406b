"""Which of the caller's variables the programs of a run know by name. Pure.

That a program holds the name is no proof that it reads the variable, so it is a reason to pass it only together with a
run that shows that nothing breaks. What looks like a secret, by its name or its value, is never passed for this reason.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sandrun.learn.collapse import MOST_PROGRAMS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from mmap import mmap

ELF = b"\x7fELF"
SHELLS_OWN = ("PWD", "OLDPWD", "SHLVL", "_", "IFS", "PS1", "PS2", "PS4", "COLUMNS", "LINES", "SUDO_COMMAND")
"""What shells set themselves, or hold for the sake of a terminal."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CREDENTIALS = re.compile(r"://[^/@\s]*:[^/@\s]*@")


def candidates(environ: Mapping[str, str], given: Iterable[str]) -> tuple[str, ...]:
    """The variables worth looking for: those that the command was not given."""
    known = {*given, *SHELLS_OWN}
    return tuple(
        name
        for name, value in sorted(environ.items())
        if name not in known and _NAME.fullmatch(name) and not _CREDENTIALS.search(value)
    )


def known_to(names: Iterable[str], text: bytes | mmap) -> set[str]:
    """The names that stand in a program: in a binary from one null byte to the next, in a script as whole words."""
    wanted = {name: name.encode("ascii") for name in names}
    if text[: len(ELF)] == ELF:
        return {name for name, word in wanted.items() if text.find(b"\0" + word + b"\0") >= 0}
    return {
        name
        for name, word in wanted.items()
        if text.find(word) >= 0 and re.search(rb"(?<![A-Za-z0-9_])" + word + rb"(?![A-Za-z0-9_])", text)
    }


def evidence(programs: Iterable[str]) -> str:
    """What the comment of an entry says."""
    several = list(dict.fromkeys(programs))
    more = len(several) - MOST_PROGRAMS
    return f"named in {', '.join(several[:MOST_PROGRAMS])}{f' and {more} more' if more > 0 else ''}"
