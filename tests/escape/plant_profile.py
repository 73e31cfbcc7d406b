"""A profile that the next launch would find cannot be planted, though the home directory is granted for writing."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = ("-p", "none", "-x", "@system", "-w", "{home}", "-w", "{work}")


def needs() -> None:
    from tests import support

    support.need_userns()


def setup(out: Outside) -> None:
    out.directory(out.who.home / ".local" / "state" / "sandrun")
    out.kept = out.directory(out.who.home / ".config" / "sandrun" / "profiles") / "default.toml"
    out.arguments += [out.kept]


def attempt(path: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write('schema = 1\nextends = "offline"\n')


def unharmed(out: Outside) -> bool:
    planted: bool = out.kept.exists()
    return not planted
