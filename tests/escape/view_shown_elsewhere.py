"""What is denied is not to be had where a rule shows its directory at another path."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from tests.probes.inside import read

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = ("-p", "{profile}", "-x", "@system", "-r", "/", "--deny", "{work}/private")
RULES = """schema = 1
[filesystem]
rules = [
    {{path = "{work}", access = ["read_file"], at = "{box}/there"}},
    {{path = "{work}/private", access = ["read_file"], at = "{box}/nearer"}},
]
"""


def setup(out: Outside) -> None:
    out.file(out.work / "private" / "key")
    for name in ("there", "nearer"):
        out.directory(out.box / name)
    out.values["profile"] = out.file(out.box / "rules.toml", RULES.format(box=out.box, work=out.work), 0o644)
    out.arguments += [out.box / "there/private/key", out.box / "nearer/key", out.work / "private/key"]


def attempt(*paths: str) -> None:
    for path in paths[:-1]:
        with suppress(OSError):
            read(path)
            return
    read(paths[-1])
