"""That a file exists in the home directory cannot be seen."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside


def needs() -> None:
    from tests import support

    support.need_userns()


def setup(out: Outside) -> None:
    out.arguments += [out.file(out.who.home / ".ssh" / "id_rsa")]


def attempt(path: str) -> None:
    os.stat(path)
