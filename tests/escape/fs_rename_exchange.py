"""RENAME_EXCHANGE does not swap a file of the command's own with one outside the grants."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.probes.inside import read, syscall

if TYPE_CHECKING:
    from tests.escape.outside import Outside

REFUSALS = ("EXDEV",)
AT_FDCWD = -100
RENAME_EXCHANGE = 2


def setup(out: Outside) -> None:
    out.arguments += [out.secret()]


def attempt(path: str) -> None:
    with open("mine", "w", encoding="utf-8") as file:
        file.write("gone")
    syscall("renameat2", AT_FDCWD, path.encode(), AT_FDCWD, b"mine", RENAME_EXCHANGE)
    read("mine")
