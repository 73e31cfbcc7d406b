"""What deny_write names cannot be written, though the tree around it can."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = (
    "-p",
    "none",
    "-x",
    "@system",
    "-w",
    "{work}",
    "--deny-write",
    "{work}/hooks",
    "--optional",
    "filesystem.deny_write",
)


def setup(out: Outside) -> None:
    out.kept = out.file(out.work / "hooks" / "post-commit", "#!/bin/sh\n")
    out.file(out.work / "code")


def attempt() -> None:
    with open("code", "a", encoding="utf-8") as file:
        file.write("fine\n")
    with open("hooks/post-commit", "a", encoding="utf-8") as file:
        file.write("evil\n")


def unharmed(out: Outside) -> bool:
    return "evil" not in out.kept.read_text()
