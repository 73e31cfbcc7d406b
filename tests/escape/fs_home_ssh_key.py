"""The default profile does not let ~/.ssh/id_rsa be read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.probes.inside import read

if TYPE_CHECKING:
    from tests.escape.outside import Outside


BARE = True


def setup(out: Outside) -> None:
    out.arguments += [out.file(out.who.home / ".ssh" / "id_rsa")]


def attempt(path: str) -> None:
    read(path)
