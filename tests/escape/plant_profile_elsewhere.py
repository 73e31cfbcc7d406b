"""A profile that a launch with other variables would find cannot be planted below HOME, though this one looks elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = ("-p", "none", "-x", "@system", "-w", "{home}", "-w", "{work}")


def needs() -> None:
    from tests import support

    support.need_userns()


def setup(out: Outside) -> None:
    elsewhere = out.directory(out.box / "elsewhere")
    out.options["env"] = {**out.who.env, "XDG_CONFIG_HOME": str(elsewhere), "XDG_STATE_HOME": str(elsewhere)}
    out.directory(out.who.home / ".local" / "state" / "sandrun")
    out.kept = out.directory(out.who.home / ".config" / "sandrun" / "profiles") / "default.toml"
    out.arguments += [out.kept]


def attempt(path: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write('schema = 1\nextends = "offline"\n')


def unharmed(out: Outside) -> bool:
    planted: bool = out.kept.exists()
    return not planted
