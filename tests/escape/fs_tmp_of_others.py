"""With a private temporary directory, what others have in theirs cannot be read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.probes.inside import read

if TYPE_CHECKING:
    from tests.escape.outside import Outside


def setup(out: Outside) -> None:
    session = out.file(out.who.tmp / "session")
    out.exit.callback(session.unlink)
    out.arguments += [session]


def attempt(path: str) -> None:
    read(path)
