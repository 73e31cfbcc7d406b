"""The default profile does not let a key be planted in ~/.ssh/authorized_keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside


def setup(out: Outside) -> None:
    out.kept = out.directory(out.who.home / ".ssh") / "authorized_keys"
    out.arguments += [out.kept]


def attempt(path: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write("ssh-ed25519 evil\n")


def unharmed(out: Outside) -> bool:
    return not out.kept.exists()
