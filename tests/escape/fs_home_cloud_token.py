"""The default profile does not let ~/.aws/credentials be read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.probes.inside import read

if TYPE_CHECKING:
    from tests.escape.outside import Outside


def setup(out: Outside) -> None:
    out.arguments += [out.file(out.who.home / ".aws" / "credentials")]


def attempt(path: str) -> None:
    read(path)
